"""LumosX: videos of several people from pictures of faces, clothes and things, each attribute on its owner.

The public names load on first use: `import lumosx` imports neither torch nor diffusers, so that checking a
scene and asking for help are instant. diffusers finds our classes by `getattr(lumosx, name)`: served too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lumosx.models import LinearCodec, LumosXTransformer3DModel, SpaceToDepthCodec
    from lumosx.pipelines import LumosXPipeline
    from lumosx.scene import Scene

__version__ = "0.1.0"
__all__ = ["LinearCodec", "LumosXPipeline", "LumosXTransformer3DModel", "Scene", "SpaceToDepthCodec", "__version__"]

_HOMES = {
    "LinearCodec": "lumosx.models",
    "LumosXPipeline": "lumosx.pipelines",
    "LumosXTransformer3DModel": "lumosx.models",
    "Scene": "lumosx.scene",
    "SpaceToDepthCodec": "lumosx.models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lumosx' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
