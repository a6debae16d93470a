"""How well a run of curation found what was planted in the footage of `demo_footage`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lumosx.curation.curate import Curated
from lumosx.curation.demo_footage import Planted
from lumosx.curation.run import Standing
from lumosx.curation.sources import Clip
from lumosx.curation.stage import Rejected
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.playground.truth import Subject

NEAR = 0.5  # seconds between a cut and where it is found
ROWS = 18  # at the lower edge, in which subtitles are planted
# What is rejected is rejected by the code with which its fault is named.
FAULTS = ("grey", "flow-low", "flow-high", "quality", "crowd", "no-people", "duplicate")


@dataclass(frozen=True)
class Score:
    """How often something was found. right: found and there. found, there: each as often as it is."""

    name: str
    right: int
    found: int
    there: int

    @property
    def precision(self) -> float | None:
        """Share of what was found that is there; None if nothing was."""
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of what is there that was found; None if nothing is."""
        return self.right / self.there if self.there else None


def scores(curated: Curated, planted: Sequence[Planted]) -> list[Score]:
    """Precision and recall of cuts, crops, every filter, and of who wears what in the clips that stay."""
    shots = {(shot.video, number): shot for number, shot in enumerate(planted)}
    pairs = [(standing, _shot_of(standing, shots.values())) for standing in curated.clips]
    return [
        _cuts(curated, planted),
        _counted("borders", pairs, _cropped, lambda shot: shot.crop[:2] != (0, 0)),
        _counted("subtitles", pairs, _freed, lambda shot: shot.fault == "subtitles"),
        *(_counted(fault, pairs, _rejected(fault), _has(fault)) for fault in FAULTS),
        _counted("kept", pairs, lambda standing: standing.alive, _sound),
        _owners(pairs),
    ]


def _shot_of(standing: Standing, shots: Iterable[Planted]) -> Planted:
    """The shot in whose time the middle of a clip is."""
    clip = standing.record
    assert isinstance(clip, Clip)
    middle = (clip.start + clip.end) / 2
    return next(shot for shot in shots if shot.video == clip.source.name and shot.start <= middle < shot.end)


def _cuts(curated: Curated, planted: Sequence[Planted]) -> Score:
    there = {(shot.video, shot.start) for shot in planted if shot.start}
    clips = [standing.record for standing in curated.clips]
    found = [(clip.source.name, clip.start) for clip in clips if isinstance(clip, Clip) and clip.start]
    right = {cut for cut in there if any(cut[0] == name and abs(cut[1] - at) < NEAR for name, at in found)}
    return Score("cuts", len(right), len(found), len(there))


def _counted(
    name: str,
    pairs: Sequence[tuple[Standing, Planted]],
    found: Callable[[Standing], bool],
    there: Callable[[Planted], bool],
) -> Score:
    hits = [(found(standing), there(shot)) for standing, shot in pairs]
    return Score(name, sum(a and b for a, b in hits), sum(a for a, _ in hits), sum(b for _, b in hits))


def _cropped(standing: Standing) -> bool:
    value = standing.values.get(BorderCrop)
    return value is not None and value.crop[:2] != (0, 0)


def _freed(standing: Standing) -> bool:
    value = standing.values.get(SubtitleText)
    return value is not None and bool(value.texts)


def _rejected(code: str) -> Callable[[Standing], bool]:
    def found(standing: Standing) -> bool:
        why = standing.stopped and standing.stopped[1]
        return isinstance(why, Rejected) and why.code == code

    return found


def _has(fault: str) -> Callable[[Planted], bool]:
    return lambda shot: shot.again if fault == "duplicate" else shot.fault == fault


def _sound(shot: Planted) -> bool:
    return not shot.again and shot.fault in (None, "subtitles")


def _owners(pairs: Sequence[tuple[Standing, Planted]]) -> Score:
    """Attributes on their owners, in the clips that stay: people are told apart by where they stand."""
    right = found = there = 0
    for standing, shot in pairs:
        if not standing.alive:
            continue
        people: list[Subject] = sorted(shot.truth.subjects, key=lambda subject: subject.slot)
        worn = {(slot, item.word) for slot, person in enumerate(people) for item in person.attributes}
        entities = standing.values[Matching]
        told = {(subject.box, phrase.text) for subject in entities.subjects for phrase in subject.attributes}
        right, found, there = right + len(worn & told), found + len(told), there + len(worn)
    return Score("attributes on their owners", right, found, there)
