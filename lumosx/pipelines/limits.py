"""What a transformer would refuse in its first step, found before the text encoder and the VAE have run."""

from typing import Any

from lumosx.errors import InputError
from lumosx.relations import TokenLayout
from lumosx.relations.r2pe import rotary_table


def expect_positions(layout: TokenLayout, config: Any) -> None:
    """Raises InputError if R2PE needs positions that the model of this configuration does not know."""
    last = layout.position_ids.amax(dim=0, keepdim=True)  # stands for all: only the largest matter
    try:
        rotary_table(
            last,
            config.attention_head_dim,
            ntk_scaling=config.rope_ntk_scaling,
            table_length=config.rope_max_seq_len,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
