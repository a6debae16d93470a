"""The paper's mechanisms as plain tensor maths.

Where each equation is: (1) R2PE in `r2pe.py`, (2) CSAM in `csam.py`, (3) MCAM's levels, (4) its attention and (5) its
dynamic scale in `mcam.py`. `layout.py` applies them to one sample's token sequence, `batch.py` to a batch of samples.
"""

from lumosx.relations.batch import LayoutBatch, batch_layouts
from lumosx.relations.bound import bound_layout, bound_pictures
from lumosx.relations.layout import Reference, Segment, TokenLayout
from lumosx.relations.mcam import Rules

__all__ = [
    "LayoutBatch",
    "Reference",
    "Rules",
    "Segment",
    "TokenLayout",
    "batch_layouts",
    "bound_layout",
    "bound_pictures",
]
