"""The model on diffusers' Wan parts, the codecs of the tiny checkpoint, and the conversion of weights."""

from lumosx.models.caching import ReferenceCache, TextCache
from lumosx.models.codec import LinearCodec, SpaceToDepthCodec
from lumosx.models.convert import convert_state_dict, infer_config
from lumosx.models.transformer import LumosXTransformer3DModel

__all__ = [
    "LinearCodec",
    "LumosXTransformer3DModel",
    "ReferenceCache",
    "SpaceToDepthCodec",
    "TextCache",
    "convert_state_dict",
    "infer_config",
]
