"""Checks of validation and sampled clips, each against one process."""

import sys
from pathlib import Path

import numpy as np
import torch
from worker import ALONE, check, main, tiny_batch, tiny_config, tiny_model

from lumosx.data.batch import EncodedBatch
from lumosx.pipelines.video import read_clip
from lumosx.training.engines import make_engine
from lumosx.training.ranks import Ranks
from lumosx.training.samples import sample_clips
from lumosx.training.validation import validation_loss

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_models import in_memory, tiny_pipeline, two_men

SIGMAS = [0.2, 0.7]


def clips(numbers: list[int]) -> EncodedBatch:
    made = [tiny_batch(0, range(number, number + 1)) for number in numbers]
    return EncodedBatch(
        samples=[str(number) for number in numbers],
        latents=torch.cat([one["hidden_states"] for one in made]),
        references=[one["references"][0] for one in made],
        text=torch.cat([one["encoder_hidden_states"] for one in made]),
        layouts=[one["layouts"][0] for one in made],
    )


@check
def validation(ranks: Ranks, folder: Path) -> None:
    """Three clips on two ranks: the second one's second clip only fills its batch."""
    alone = validation_loss(tiny_model(), [clips([0, 1, 2])], [torch.ones(3)], SIGMAS, ALONE)
    engine = make_engine(tiny_model(), tiny_config("fsdp2"), ranks)
    mine = [clips([0, 2]), clips([1, 0])][ranks.rank]
    weights = [torch.ones(2), torch.tensor([1.0, 0.0])][ranks.rank]
    found = validation_loss(engine.forward, [mine], [weights], SIGMAS, ranks)
    assert found.keys() == alone.keys()
    assert all(abs(found[key] - alone[key]) < 1e-6 for key in alone), (found, alone)


@check
def samples(ranks: Ranks, folder: Path) -> None:
    """Scenes with and without pictures, which need different numbers of passes, over one sharded model."""
    words = {"lumosx": 1, "id": "words", "prompt": "A man stands on a street."}
    scenes = [two_men(in_memory), words, {**two_men(in_memory), "id": "b"}, {**two_men(in_memory), "id": "c"}]
    pipeline = tiny_pipeline(reference_timestep="zero")  # with a cache of references: one more pass
    if ranks.is_main:
        sample_clips(pipeline, scenes, folder / "alone", ALONE)
    pipeline.transformer = make_engine(pipeline.transformer, tiny_config("fsdp2"), ranks).model
    sample_clips(pipeline, scenes, folder / "shared", ranks)
    if ranks.is_main:
        names = sorted(path.name for path in (folder / "alone").iterdir())
        assert names == sorted(path.name for path in (folder / "shared").iterdir())
        for name in names[:-1]:
            ours, theirs = (read_clip(folder / place / name, 32, 32).astype(float) for place in ("shared", "alone"))
            assert np.abs(ours - theirs).max() <= 8, name  # a value that rounds otherwise, through the compression


if __name__ == "__main__":
    main()
