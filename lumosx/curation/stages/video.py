"""The clip as a video file of its own: what training reads."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lumosx.curation.footage import FPS, Span
from lumosx.curation.stage import Look, Stage
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import VideoFile
from lumosx.mp4 import write_mp4


@dataclass(frozen=True)
class ClipVideo(Stage[VideoFile]):
    """Encodes the clip, cut, cropped and at 16 frames a second, with H.264.

    crf: x264's quality; at 14 the loss is far below what the video codec of the model loses.
    """

    name: ClassVar[str] = "video"
    needs: ClassVar = (Technical, SubtitleText)
    gives: ClassVar = VideoFile

    crf: int = 14

    def measure(self, look: Look) -> VideoFile:
        """The file as a blob."""
        kept = look.of(Technical)
        frames = Span.of_clip(look.clip).read(crop=look.of(SubtitleText).crop, side=min(kept.width, kept.height))
        # in the data set, where the next run removes what a kill left, as it does with all of such names
        with tempfile.TemporaryDirectory(prefix=".clip.", suffix=".part", dir=look.blobs.root) as folder:
            path = Path(folder, "clip.mp4")
            write_mp4(frames[:, : kept.height, : kept.width], path, FPS, {"crf": str(self.crf)})
            return VideoFile(video=look.blobs.put(path.read_bytes(), ".mp4"))
