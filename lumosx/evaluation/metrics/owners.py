"""Binding: is every attribute on its owner? Of any model's video, by the faces in it.

People are given to subjects by their faces (`Evidence.people`), then every attribute of every subject is looked for on
every person, on all looks at him. MultiBind (arXiv 2603.21937) compares such tables with those of a true picture; here
there is none, so they are compared with the references themselves. Identity scores cannot see what is measured here:
two people who exchange clothes keep their faces.

Checked on composites with known answers and real face embeddings (`scripts/binding_validation.py`). How well a detector
and an encoder tell real clothes apart, and so what `seen` should be for them, needs labelled clips.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence, Track
from lumosx.evaluation.metrics import SEEN
from lumosx.evaluation.metrics.verdicts import Outfits, Verdict, pooled
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import PictureEncoder
from lumosx.vision.garments import slot

ACCURACY, DUPLICATE = "BindAcc", "duplicate"
RATES: tuple[Verdict, ...] = ("swap", "leak", "dominance", "drop", "missing")


class OwnersMeasure:
    """Binding of pictured attributes, in cases of two people or more.

    BindAcc: share of attributes that their owner wears; who is not there or what is not seen is wrong.
    BindAcc|seen: the same over attributes that are neither missing nor dropped, which tells binding from drawing.
    swap, leak, dominance, drop, missing: shares of attributes, by `Verdict`. With BindAcc they add up to 1, but that
    an attribute which its owner and others wear counts as bound and as dominance.
    duplicate: share of people who are seen twice at once. What a copy wears, its person wears. A copy that stands in
    another's place makes that other one missing as well.

    What strangers wear counts for nobody. Left out, and counted in the detail: attributes in words alone, those of
    subjects without a picture of their face, and those that everybody else has alike.

    Pictures are compared by DINO-I if the models have it, because it is trained to tell things of one kind apart
    (DreamBooth, arXiv 2208.12242, section 4.2), else by their first likeness.

    Args:
        models: without one that finds phrases and one that compares pictures there are no metrics.
        seen: least likeness (cosine) of what is found and the reference that it is taken for.
        alike: likeness of two references above which it does not matter who wears which.
    """

    def __init__(self, models: Models, *, seen: float = 0.5, alike: float = 0.8) -> None:
        likenesses = models.likenesses if models.phrases else {}
        self.encoder = likenesses.get("DINO-I") or next(iter(likenesses.values()), None)
        self.seen, self.alike = seen, alike

    @property
    def metrics(self) -> dict[str, bool]:
        """Names, each with whether more is better."""
        if self.encoder is None:
            return {}
        return {ACCURACY: True, ACCURACY + SEEN: True, **dict.fromkeys((*RATES, DUPLICATE), False)}

    @property
    def misses(self) -> dict[str, float]:
        """Of a clip that is not there every attribute is missing, and nothing else became of any."""
        return {metric: 0.0 for metric in self.metrics if metric in (*RATES, DUPLICATE) and metric != "missing"}

    def nothing_for(self, case: Case) -> list[Score]:
        """All metrics of a case in which nothing has another place to be."""
        if len(case.faces) < 2:
            return self._nothing("fewer than two people with a picture of their face")
        if not any(attribute.subject in case.faces for attribute in case.attributes()):
            return self._nothing("no attribute with a picture of somebody with a picture of the face")
        return []

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        """A score for each of `metrics`, all that explains them in the detail of BindAcc."""
        if self.encoder is None:
            return []
        if nothing := self.nothing_for(case):
            return nothing
        people = list(case.faces)
        attributes = [a for a in case.attributes() if a.subject in people]
        references = self.encoder.embed([a.picture() for a in attributes])
        outfits = Outfits(
            people=len(people),
            owners=[people.index(a.subject) for a in attributes if a.subject is not None],
            slots=[slot(a.word) for a in attributes],
            likeness=references @ references.T,
            alike=self.alike,
        )
        if not outfits.counted.any():
            return self._nothing("everybody should wear the same")
        tracks = [_tracks(evidence, subject) for subject in people]
        likeness = _likenesses(self.encoder, tracks, attributes, references, evidence)
        sightings = Sightings.of(tracks, likeness)
        return _scores(
            {
                "people": [{"subject": s, "seen_as": len(own)} for s, own in zip(people, tracks, strict=True)],
                "attributes": _verdicts(people, attributes, outfits, sightings, self.seen),
                **_tables(people, outfits, sightings, self.seen),
                "left_out": {
                    "words alone": sum(r.kind == "attribute" and r.image is None for r in case.references),
                    "owner without a face": len(case.attributes()) - len(attributes),
                    "alike": int((~outfits.counted).sum()),
                    "alike pairs": int(outfits.twins.sum()) // 2,
                },
            }
        )

    def _nothing(self, why: str) -> list[Score]:
        return [not_applicable(metric, why) for metric in self.metrics]


def bind_flip(detail: Mapping[str, Any], swapped: Mapping[str, Any]) -> float | None:
    """The share of attributes that follow their references when owners are exchanged: worn by their owner in the clip
    of a case and in that of the same case with owners exchanged. A model that dresses people by the prompt, or by
    chance, gets one of the two.

    Args:
        detail, swapped: of the BindAcc of both. Attributes are the same by their picture.

    Returns:
        None where no counted attribute has another owner in the other case.
    """
    before, after = ({a["picture"]: a for a in side["attributes"] if a["counted"]} for side in (detail, swapped))
    moved = [(a, after[key]) for key, a in before.items() if key in after and after[key]["owner"] != a["owner"]]
    return _share(_bound(one) and _bound(other) for one, other in moved) if moved else None


@dataclass(frozen=True, eq=False)
class Sightings:
    """What is seen of the attributes in a clip. A figure is a person's track or a copy of it.

    whose: [figures], the person. visible: bool [looks, figures]. likeness: [looks, figures, attributes], NaN where the
    attribute was not found.
    """

    whose: np.ndarray
    visible: np.ndarray
    likeness: np.ndarray

    @classmethod
    def of(cls, tracks: Sequence[Sequence[Track]], likeness: np.ndarray) -> "Sightings":
        """Of the tracks of each person."""
        figures = [track for own in tracks for track in own]
        visible = [[look in track.faces for track in figures] for look in range(len(likeness))]
        whose = np.repeat(np.arange(len(tracks)), [len(own) for own in tracks])
        return cls(whose, np.array(visible, bool).reshape(likeness.shape[:2]), likeness)

    @property
    def pooled(self) -> np.ndarray:
        """[figures, attributes] over the clip."""
        return pooled(self.likeness, self.visible)


def _tracks(evidence: Evidence, subject: int) -> list[Track]:
    """Where a subject is: his track, and strangers with his face who are seen at the same time.

    Those are nearer to him than to anybody else of the case, and more like his reference than halfway from what other
    people of the case are to what he is.
    """
    own = evidence.people[subject]
    if own is None:
        return []
    reference = evidence.references[subject]
    others = max(float(other @ reference) for key, other in evidence.references.items() if key != subject)
    least = max(evidence.threshold, (_cosine(own, reference) + others) / 2)
    copies = [
        track
        for track in evidence.strangers
        if track.faces.keys() & own.faces.keys()
        and _cosine(track, reference) > least
        and subject == max(evidence.references, key=lambda s: _cosine(track, evidence.references[s]))
    ]
    return [own, *copies]


def _cosine(track: Track, reference: np.ndarray) -> float:
    return float(np.mean([embedding @ reference for embedding in track.embeddings.values()]))


def _likenesses(
    encoder: PictureEncoder,
    tracks: Sequence[Sequence[Track]],
    attributes: Sequence[CaseReference],
    references: np.ndarray,
    evidence: Evidence,
) -> np.ndarray:
    """[looks, figures, attributes]: cosine of a reference and what is found on a figure; NaN where nothing is."""
    figures = [track for own in tracks for track in own]
    table = np.full((len(evidence.frames), len(figures), len(attributes)), np.nan)
    for look in range(len(evidence.frames)):
        found = [evidence.worn(track, look) for track in figures]
        cells = [(j, i) for j, worn in enumerate(found) for i, a in enumerate(attributes) if a.word in worn]
        if cells:
            embeddings = encoder.embed([found[j][attributes[i].word] for j, i in cells])
            for (j, i), embedding in zip(cells, embeddings, strict=True):
                table[look, j, i] = embedding @ references[i]
    return table


def _verdicts(
    people: Sequence[int], attributes: Sequence[CaseReference], outfits: Outfits, sightings: Sightings, seen: float
) -> list[dict[str, Any]]:
    """What became of each attribute, as plain data."""
    worn = outfits.worn(sightings.pooled, sightings.whose, seen)
    verdicts = outfits.judge(np.isin(np.arange(len(people)), sightings.whose), worn)
    return [
        {
            "id": attribute.id,
            "word": attribute.word,
            "slot": outfits.slots[i],
            "picture": _content(attribute),
            "owner": attribute.subject,
            "worn_by": [people[j] for j in np.flatnonzero(worn[:, i]).tolist()],
            "verdict": verdicts[i],
            "counted": bool(outfits.counted[i]),
        }
        for i, attribute in enumerate(attributes)
    ]


def _tables(people: Sequence[int], outfits: Outfits, sightings: Sightings, seen: float) -> dict[str, Any]:
    """The confusion matrix (attribute x person: on how many looks it is seen there, and on nobody while anybody is
    visible), and the likeness of the clip beside that of a perfect one (person x attribute), as plain data."""
    worn = np.stack([outfits.worn(look, sightings.whose, seen) for look in sightings.likeness])
    anybody = np.any(sightings.visible, axis=1)
    nobody = ~np.any(worn, axis=1) & anybody[:, None]
    counts = np.concatenate([worn.sum(0), nobody.sum(0)[None]]).T
    best = [np.fmax.reduce(sightings.pooled[sightings.whose == j], axis=0, initial=np.nan) for j in range(len(people))]
    likeness = np.stack(best)
    return {
        "confusion": {
            "columns": [*people, "nobody"],
            "looks": int(anybody.sum()),
            "counts": counts.tolist(),
            "shares": (counts / max(1, anybody.sum())).round(4).tolist(),
        },
        "likeness": _plain(likeness),
        "baseline": _plain(outfits.baseline),
        "delta": _plain(likeness - outfits.baseline),
    }


def _scores(detail: dict[str, Any]) -> list[Score]:
    """All metrics of a clip."""
    counted = [a for a in detail["attributes"] if a["counted"]]
    found = [a for a in counted if a["verdict"] not in ("missing", "drop")]
    copied = [person["subject"] for person in detail["people"] if person["seen_as"] > 1]
    scores = [
        Score(ACCURACY, _share(_bound(a) for a in counted), detail=detail),
        Score(ACCURACY + SEEN, _share(_bound(a) for a in found), detail={"attributes": [a["id"] for a in found]})
        if found
        else not_applicable(ACCURACY + SEEN, "no attribute is seen"),
    ]
    for verdict in RATES:
        ids = [a["id"] for a in counted if a["verdict"] == verdict]
        scores.append(Score(verdict, len(ids) / len(counted), detail={"attributes": ids}))
    return [*scores, Score(DUPLICATE, len(copied) / len(detail["people"]), detail={"subjects": copied})]


def _bound(attribute: Mapping[str, Any]) -> bool:
    return attribute["owner"] in attribute["worn_by"]


def _share(those: Iterable[bool]) -> float:
    return float(np.mean(list(those)))


def _content(attribute: CaseReference) -> str:
    """What tells a reference picture from others."""
    assert attribute.image is not None
    return f"{attribute.image.sha256} {attribute.image.crop or ''}".strip()


def _plain(table: np.ndarray) -> list[list[float | None]]:
    """A table for JSON: None where there is nothing."""
    return [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in table]
