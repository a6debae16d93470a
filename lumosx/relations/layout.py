"""TokenLayout: the one truth about a sample's token sequence.

    [video | background | objects | subject 1: face, attributes | subject 2 ...]

It is built once per sample, outside the network, and everything that needs positions, ranges or weights reads it from
here. It is a value: immutable, equal and hashed by content, so that whatever is derived from it can be cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from lumosx.attention.dense import Range
from lumosx.relations.csam import relational_ranges
from lumosx.relations.mcam import Rules, relation_levels
from lumosx.relations.r2pe import relational_positions


@dataclass(frozen=True)
class Reference:
    """One reference picture in the sequence. A member (face or attribute) says whose it is: `subject`."""

    role: Literal["background", "object", "member"]
    subject: int | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.role not in ("background", "object", "member"):
            raise ValueError(f"a reference is a 'background', an 'object' or a 'member', not {self.role!r}")
        if (self.role == "member") != (self.subject is not None):
            raise ValueError(f"a member names its subject and nothing else does: {self}")
        if self.subject is not None and self.subject < 0:
            raise ValueError(f"subjects are numbered from 0: {self}")
        if not 0 <= self.strength < float("inf"):
            raise ValueError(f"strength is 0 or more: {self}")


@dataclass(frozen=True)
class Segment:
    """Tokens [start, stop) of the video or of one reference; `member` counts within a subject, the face first."""

    role: Literal["video", "background", "object", "member"]
    subject: int | None
    member: int | None
    start: int
    stop: int


class TokenLayout:
    """The token sequence of one sample and the three relations on it.

    Args:
        video: (T, H, W), the video's size in tokens, after patchify.
        references: in token order: background and objects first, then subject by subject.
        words: bool [R, text], which text tokens name reference r (none for a reference without words).
        subject_words: None or bool [G, text], words of a subject that have no picture.
        r2pe, csam: switch a mechanism off for an ablation.
        mcam_ratio: r of equation (4); None takes the checkpoint's own, 0 switches MCAM off.
        rules: "paper", or "release" for what the authors' code computes.

    Raises:
        ValueError: references out of order, or shapes that do not fit each other.
    """

    def __init__(
        self,
        video: tuple[int, int, int],
        references: Sequence[Reference],
        words: Tensor | Sequence[Sequence[bool]],
        subject_words: Tensor | Sequence[Sequence[bool]] | None = None,
        r2pe: bool = True,
        csam: bool = True,
        mcam_ratio: float | None = None,
        rules: Rules = "paper",
    ) -> None:
        if rules not in ("paper", "release"):
            raise ValueError(f"rules are 'paper' or 'release', not {rules!r}")
        if len(video) != 3 or min(video) < 1:
            raise ValueError(f"video is (T, H, W) in tokens, each at least 1, not {tuple(video)}")
        if mcam_ratio is not None and not 0 <= mcam_ratio < float("inf"):
            raise ValueError(f"mcam_ratio, r of equation (4), is 0 or more, not {mcam_ratio}")
        self.video = (int(video[0]), int(video[1]), int(video[2]))
        self.references = tuple(references)
        self.words = _word_table(words, len(self.references), "words")
        self.subject_words = None if subject_words is None else _word_table(subject_words, None, "subject_words")
        if self.subject_words is not None and self.subject_words.shape[1] != self.words.shape[1]:
            raise ValueError("words and subject_words speak of texts of different lengths")
        self.r2pe, self.csam, self.mcam_ratio = r2pe, csam, mcam_ratio
        self.rules: Rules = rules
        self._check_order()

    def _check_order(self) -> None:
        subjects = self.subjects
        members = [s for s in subjects if s is not None]
        if subjects != [None] * (len(subjects) - len(members)) + sorted(members):
            raise ValueError(
                "references come in token order: background and objects first, then the members of subject 0, of "
                f"subject 1 and so on, but their subjects are {subjects}"
            )

    @property
    def subjects(self) -> list[int | None]:
        """The subject of each reference, None for background and objects."""
        return [reference.subject for reference in self.references]

    @property
    def video_tokens(self) -> int:
        """T * H * W."""
        frames, height, width = self.video
        return frames * height * width

    @property
    def reference_tokens(self) -> int:
        """H * W: tokens of one reference."""
        return self.video[1] * self.video[2]

    @property
    def text_length(self) -> int:
        """Number of text tokens, padding included."""
        return self.words.shape[1]

    @property
    def sees_video(self) -> bool:
        """Whether references look at the video, so that they belong to one video and change with it."""
        return bool(self.references) and not self.csam

    def __len__(self) -> int:
        return self.video_tokens + len(self.references) * self.reference_tokens

    @cached_property
    def segments(self) -> list[Segment]:
        """The sequence piece by piece, video first."""
        segments = [Segment("video", None, None, 0, self.video_tokens)]
        for index, reference in enumerate(self.references):
            start = self.video_tokens + index * self.reference_tokens
            member = None
            if reference.subject is not None:
                member = self.subjects[:index].count(reference.subject)
            segments.append(Segment(reference.role, reference.subject, member, start, start + self.reference_tokens))
        return segments

    @cached_property
    def position_ids(self) -> Tensor:
        """R2PE, equation (1): int64 [L, 3]."""
        return relational_positions(self.video, self.subjects, r2pe=self.r2pe)

    @cached_property
    def attention_ranges(self) -> list[Range]:
        """CSAM, equation (2): blocks (q0, q1, k0, k1), half-open, query rows disjoint and complete."""
        return relational_ranges(self.video_tokens, self.reference_tokens, self.subjects, csam=self.csam)

    @cached_property
    def text_weights(self) -> Tensor:
        """MCAM's levels, equation (3): float32 [R, text]."""
        strengths = [reference.strength for reference in self.references]
        return relation_levels(self.words, self.subjects, self.subject_words, strengths, self.rules)

    def without_words(self) -> "TokenLayout":
        """The layout of the negative branch: no word of the prompt is in the negative prompt, so none names anything.

        Under rules "release" the positive prompt's words stay, on whatever tokens they fall, as the authors' code does.
        """
        if self.rules == "release":
            return self
        return TokenLayout(
            self.video,
            self.references,
            torch.zeros_like(self.words),
            r2pe=self.r2pe,
            csam=self.csam,
            mcam_ratio=self.mcam_ratio,
            rules=self.rules,
        )

    @cached_property
    def _content(self) -> tuple:
        tables = (self.words, self.subject_words)
        return (
            self.video,
            self.references,
            tuple(None if t is None else (tuple(t.shape), t.numpy().tobytes()) for t in tables),
            (self.r2pe, self.csam, self.mcam_ratio, self.rules),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenLayout) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __repr__(self) -> str:
        return (
            f"TokenLayout(video={self.video}, references={len(self.references)}, tokens={len(self)}, "
            f"text_length={self.text_length}, r2pe={self.r2pe}, csam={self.csam}, mcam_ratio={self.mcam_ratio}, "
            f"rules={self.rules!r})"
        )


def _word_table(table: Tensor | Sequence[Sequence[bool]], rows: int | None, name: str) -> Tensor:
    if not isinstance(table, Tensor) and any(isinstance(row, Tensor) for row in table):
        table = torch.stack([torch.as_tensor(row) for row in table])
    tensor = torch.as_tensor(table, dtype=torch.bool).detach().cpu().clone()
    if rows == 0 and tensor.numel() == 0 and tensor.ndim < 2:
        tensor = tensor.reshape(0, 0)
    if tensor.ndim != 2 or (rows is not None and len(tensor) != rows):
        expected = "G" if rows is None else rows
        raise ValueError(f"{name} is a table [{expected}, text tokens], not of shape {tuple(tensor.shape)}")
    return tensor
