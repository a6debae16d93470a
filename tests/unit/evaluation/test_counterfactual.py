"""The counterfactual of a case: pictures change owners, words and the scene for sampling stay in agreement."""

import json
from pathlib import Path

import pytest
from case_makers import colour, names, paint, sample, two_people, write_scene
from ruamel.yaml import YAML

from lumosx.evaluation.cases import Case
from lumosx.evaluation.counterfactual import FLIP, SUFFIX, counterfactual, with_flips
from lumosx.evaluation.readers import read_cases
from lumosx.evaluation.results import CaseResult
from lumosx.evaluation.scores import Score


def wearing(case: Case) -> dict[str, tuple[int, ...]]:
    return {reference.id: colour(reference.picture()) for reference in case.attributes()}


def test_the_counterfactual_moves_pictures_and_leaves_words(tmp_path: Path) -> None:
    stated = two_people()
    ann = stated["subjects"][1]["attributes"]
    ann[1] = {"word": "Jacket", "strength": 1.0, "image": {"image": "blue.png", "crop": [0, 0, 70, 80]}}
    path = write_scene(tmp_path / "pair.yaml", **stated)
    (tmp_path / "truth.mp4").touch()
    (tmp_path / "cases.jsonl").write_text(json.dumps({"scene": path.name, "truth": "truth.mp4"}))
    [case] = read_cases(tmp_path / "cases.jsonl")
    other = counterfactual(case)
    assert other is not None
    assert (other.id, other.truth) == ("pair" + SUFFIX, None)
    assert names(other) == names(case)
    assert wearing(other) == {
        "ben.jacket": wearing(case)["ann.Jacket"],
        "ann.Jacket": wearing(case)["ben.jacket"],
    }
    assert [len(reference.picture()) for reference in other.attributes()] == [80, 130]  # the crop went along
    assert [e.id for e in other.references if e.image] == [e.id for e in case.references if e.image]
    YAML().dump(other.scene, tmp_path / "other.yaml")
    [again] = read_cases(tmp_path / "other.yaml")  # the scene for sampling says what the references say
    assert (again.id, again.prompt, wearing(again)) == (other.id, case.prompt, wearing(other))
    back = counterfactual(other)
    assert back is not None and wearing(back) == wearing(case)


def test_three_people_pass_on_like_attributes_and_keep_the_rest(tmp_path: Path) -> None:
    worn = {"a": ["coat", "coat", "hat"], "b": ["coat", "cap"], "c": ["coat", "coat"]}
    subjects = []
    for person, things in worn.items():
        attributes = [{"word": word, "image": f"{person}{n}.png"} for n, word in enumerate(things)]
        subjects.append({"id": person, "word": f"man {person}", "face": f"{person}.png", "attributes": attributes})
        paint(tmp_path / f"{person}.png", *(tmp_path / f"{person}{n}.png" for n in range(len(things))))
    YAML().dump({"lumosx": 1, "prompt": "Men.", "subjects": subjects}, tmp_path / "trio.yaml")
    [case] = read_cases(tmp_path / "trio.yaml")
    other = counterfactual(case)
    assert other is not None
    assert [[part["image"] for part in subject["attributes"]] for subject in other.scene["subjects"]] == [
        ["c0.png", "c1.png", "a2.png"],
        ["a0.png", "b1.png"],
        ["b0.png", "a1.png"],
    ]
    assert case.scene["subjects"][0]["attributes"][0]["image"] == "a0.png"


def test_no_shared_word_no_counterfactual(tmp_path: Path) -> None:
    sample(tmp_path, "2", "subject/2")
    [case] = read_cases(tmp_path)
    assert case.attributes() and counterfactual(case) is None
    [faces] = read_cases(tmp_path, faces_only=True)
    assert counterfactual(faces) is None


def clip_of(case: str, owners: dict[str, int], worn_by: dict[str, int | None], seed: int = 0) -> CaseResult:
    """A clip in which pictures have owners, and are seen on somebody or on nobody."""
    attributes = [
        {"picture": name, "owner": owner, "worn_by": [] if worn_by[name] is None else [worn_by[name]], "counted": True}
        for name, owner in owners.items()
    ]
    return CaseResult(case, seed, 2, None, None, [Score("BindAcc", 0.5, detail={"attributes": attributes})])


def flips(*clips: CaseResult) -> dict[str, Score]:
    return {result.case: result.scores[-1] for result in with_flips(clips)}


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ({"red": 0, "blue": 1}, {"red": 1, "blue": 0}, 1.0),  # both follow
        ({"red": 0, "blue": 1}, {"red": 0, "blue": 1}, 0.0),  # both stay: the prompt, or habit, dressed them
        ({"red": 0, "blue": 1}, {"red": 1, "blue": None}, 0.5),  # one follows, one is lost
        ({"red": None, "blue": 0}, {"red": 1, "blue": 0}, 0.0),  # right in one of the two clips is not enough
    ],
)
def test_bind_flip_counts_what_follows_its_reference(before: dict, after: dict, share: float) -> None:
    found = flips(clip_of("pair", {"red": 0, "blue": 1}, before), clip_of("pair.swapped", {"red": 1, "blue": 0}, after))
    assert found["pair"].metric == FLIP and found["pair"].value == share
    assert found["pair.swapped"].status == "not_applicable"


def test_a_flip_that_was_not_made_or_not_scored_says_so() -> None:
    right = clip_of("pair", {"red": 0, "blue": 1}, {"red": 0, "blue": 1})
    missing = CaseResult("pair.swapped", 0, 2, None, None, [Score("BindAcc", None, "missing", {"why": "no video"})])
    assert flips(right)["pair"].status == "not_applicable"
    assert (flips(right, missing)["pair"].status, flips(right, missing)["pair"].detail) == (
        "missing",
        {"why": "no video"},
    )
    other_seed = clip_of("pair.swapped", {"red": 1, "blue": 0}, {"red": 1, "blue": 0}, seed=1)
    assert flips(right, other_seed)["pair"].status == "not_applicable"
