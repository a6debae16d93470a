"""The size, length and rate in which a clip is kept."""

from dataclasses import dataclass
from typing import ClassVar

from lumosx.curation.footage import Span
from lumosx.curation.stage import Look, Rejected, Stage, threshold
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.values import Kept


@dataclass(frozen=True)
class Technical(Stage[Kept]):
    """Fixes how the clip is kept, at 16 frames a second, and takes its key frames.

    side: pixels of the shorter side to which larger clips are made smaller. Both sides are even, as H.264 stores
    colours at half resolution; training crops to its own sizes. least_frames: 81, as the paper trains on (section 4.1).
    least_side: of the shorter side, in pixels. least_fps: frames a second of the source: a slow one, whose frames would
    be repeated, has no motion to learn from.
    """

    name: ClassVar[str] = "technical"
    needs: ClassVar = (SubtitleText,)
    gives: ClassVar = Kept

    side: int = 720
    least_frames: int = threshold(81)
    least_side: int = threshold(240)
    least_fps: float = threshold(15.0)

    def measure(self, look: Look) -> Kept:
        """The key frames are those of footage.KEY_MOMENTS, as pictures of the size in which the clip is kept."""
        span = Span.of_clip(look.clip)
        pictures = span.read(span.key_numbers, look.of(SubtitleText).crop, self.side)
        height, width = (side - side % 2 for side in pictures.shape[1:3])
        return Kept(
            width=width,
            height=height,
            frames=span.frames,
            stored_fps=round(span.stored_fps, 3),
            key_numbers=span.key_numbers,
            key_frames=[look.blobs.put_picture(picture[:height, :width]) for picture in pictures],
        )

    def judge(self, value: Kept) -> Rejected | None:
        """Too short, too small, or too slow."""
        side = min(value.width, value.height)
        if value.frames < self.least_frames:
            return Rejected("short", "too few frames at 16 a second", value.frames, self.least_frames)
        if side < self.least_side:
            return Rejected("small", "the shorter side has too few pixels", side, self.least_side)
        if value.stored_fps < self.least_fps:
            return Rejected("slow", "the source has too few frames a second", value.stored_fps, self.least_fps)
        return None
