"""What a model goes through before an engine shards it."""

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import Config
from lumosx.training.ranks import Ranks


def prepare_model(model: LumosXTransformer3DModel, config: Config, ranks: Ranks) -> None:
    """Sets sequence parallelism and activation checkpointing, which act inside a block, and then compiles the blocks.

    Engines come after: their hooks stay outside the compiled graphs. Parameters and their names do not change.
    """
    model.set_sequence_parallel(ranks.sequence_group())
    model.set_activation_checkpointing(config.train.checkpointing)
    if config.train.compile:
        model.compile_repeated_blocks()
