"""From a checked scene to a clip: the pipeline, what it records about each clip, and making a clip again."""

from lumosx.pipelines.branches import Branch
from lumosx.pipelines.contact_sheet import contact_sheet
from lumosx.pipelines.pipeline import Job, LumosXPipeline
from lumosx.pipelines.replay import Comparison, replay
from lumosx.pipelines.result import Result
from lumosx.pipelines.settings import Settings, resolve_settings

__all__ = [
    "Branch",
    "Comparison",
    "Job",
    "LumosXPipeline",
    "Result",
    "Settings",
    "contact_sheet",
    "replay",
    "resolve_settings",
]
