"""What the user asks for: the scene format, its checks, and the words of each entity in the prompt.

It needs no torch, so that a scene is checked before a weight is loaded.
"""

from lumosx.scene.binding import Binding
from lumosx.scene.entities import Entity
from lumosx.scene.images import ImageError, ImageSpec
from lumosx.scene.messages import Message, SceneError
from lumosx.scene.release import Imported, dump_yaml, import_release
from lumosx.scene.release_export import export_release
from lumosx.scene.scene import Scene, check_outputs, examine
from lumosx.scene.schema import json_schema

__all__ = [
    "Binding",
    "Entity",
    "ImageError",
    "ImageSpec",
    "Imported",
    "Message",
    "Scene",
    "SceneError",
    "check_outputs",
    "dump_yaml",
    "examine",
    "export_release",
    "import_release",
    "json_schema",
]
