"""The counterfactual of a case: the pictures of attributes change owners, and the attributes in the clip should follow.

A model that binds by its references moves them; one that goes by the prompt and by what people usually wear does not.

Words stay where they are, so that the prompt says the same of both clips. That leaves one exchange that keeps prompt
and references in agreement: between attributes of different subjects that have the same word (the jacket of one, the
jacket of the other). Where a word says what its picture shows ("red jacket", "black jacket"), an exchange of pictures
alone would contradict the prompt, and an exchange of words and pictures would ask for another text, so there is none.
A prompt that describes an attribute beside its word cannot be told from here: state the whole phrase as the word.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.metrics.owners import ACCURACY, bind_flip
from lumosx.evaluation.results import CaseResult
from lumosx.evaluation.scores import Score, not_applicable

SUFFIX = ".swapped"  # of the id, and legal in one: it names the video
FLIP = "BindFlip"


def counterfactual(case: Case) -> Case | None:
    """The case with pictures of attributes exchanged between owners, or None if no two subjects share a word.

    Attributes of one word go round: each subject's gets the picture of the subject before, the first the last one's. A
    subject's second attribute of a word goes round with the other second ones. The ground truth shows the original, so
    there is none.
    """
    donors = _donors(case.attributes())
    if not donors:
        return None
    references = tuple(
        replace(reference, image=donors[reference.id].image) if reference.id in donors else reference
        for reference in case.references
    )
    case_id = case.id + SUFFIX
    scene = _exchanged(case, donors) | {"id": case_id}
    return replace(case, id=case_id, references=references, scene=scene, truth=None)


def _donors(attributes: list[CaseReference]) -> dict[str, CaseReference]:
    """By the id of an attribute the one whose picture it gets."""
    seen = Counter[tuple[int | None, str]]()
    rounds = defaultdict[tuple[str, int], list[CaseReference]](list)
    for attribute in attributes:
        word = attribute.word.casefold()
        rounds[word, seen[attribute.subject, word]].append(attribute)
        seen[attribute.subject, word] += 1
    return {
        receiver.id: donor
        for sharing in rounds.values()
        if len(sharing) > 1
        for receiver, donor in zip(sharing, [sharing[-1], *sharing[:-1]], strict=True)
    }


def _exchanged(case: Case, donors: dict[str, CaseReference]) -> dict[str, Any]:
    """The scene with the `image` fields of attributes exchanged, each with its crop and fit."""
    scene = deepcopy(case.scene)
    pictured = [part for subject in scene["subjects"] for part in subject.get("attributes", []) if part.get("image")]
    parts = {reference.id: part for reference, part in zip(case.attributes(), pictured, strict=True)}
    images = {name: part["image"] for name, part in parts.items()}
    for receiver, donor in donors.items():
        parts[receiver]["image"] = images[donor.id]
    return scene


def exchanged(cases: Sequence[Case]) -> list[Case]:
    """The counterfactual of each case that has one.

    Raises:
        InputError: none has.
    """
    found = [other for case in cases if (other := counterfactual(case)) is not None]
    if not found:
        raise InputError("no case has a counterfactual: two of its people would have attributes of one word")
    return found


def expect_binding(metrics: Collection[str]) -> None:
    """Raises InputError where these metrics of a run do not give `BindFlip` what it is made of."""
    if ACCURACY not in metrics:
        raise InputError(
            "--counterfactual needs a model that finds phrases and one that compares pictures; "
            "name them by --model phrases=NAME and --model likenesses.METRIC=NAME"
        )


def with_flips(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The results with `BindFlip`: of each case that has a counterfactual, the share of attributes that follow their
    references when they change owners (`bind_flip`), both clips of one seed."""
    by_key = {result.key: result for result in results}
    return [
        replace(result, scores=[*result.scores, _flip(result, by_key.get((result.case + SUFFIX, result.key[1])))])
        for result in results
    ]


def _flip(result: CaseResult, swapped: CaseResult | None) -> Score:
    if swapped is None:
        return not_applicable(FLIP, "it has no counterfactual")
    sides = [next(s for s in each.scores if s.metric == ACCURACY) for each in (result, swapped)]
    for side in sides:
        if side.status != "ok":
            return Score(FLIP, None, side.status, side.detail)
    share = bind_flip(sides[0].detail, sides[1].detail)
    if share is None:
        return not_applicable(FLIP, "no attribute that counts has another owner")
    return Score(FLIP, share, detail={"with": swapped.case})
