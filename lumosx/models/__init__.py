"""The model on diffusers' Wan parts, its codec for the tiny checkpoint, and the conversion of weights."""

from lumosx.models.transformer import LumosXTransformer3DModel, ReferenceCache

__all__ = ["LumosXTransformer3DModel", "ReferenceCache"]
