"""Ranks that share a clip's tokens give the output, loss and gradients of one process."""

import pytest
from launching import expect, launch
from sequence_worker import CASES

from lumosx.models.sequence import check_degree, legal_degrees

ENGINES = ["in_an_engine:ddp:full", "in_an_engine:fsdp2:selective"]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Four processes: two clips that two of them share, or one that all do."""
    checks = [f"as_one_process:{case}:{degree}" for degree in (2, 4) for case in CASES]
    checks += [*ENGINES, "cached_references", "what_does_not_divide"]
    return launch("sequence_worker.py", 4, checks, tmp_path_factory.mktemp("four"))


@pytest.mark.parametrize("degree", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_ranks_that_share_a_clip_are_one_process(four: dict[str, str], case: str, degree: int) -> None:
    expect(four, f"as_one_process:{case}:{degree}")


@pytest.mark.parametrize("engine", ENGINES)
def test_they_are_in_an_engine_beside_ranks_with_another_clip(four: dict[str, str], engine: str) -> None:
    expect(four, engine)


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_they_are_when_compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    check = "in_an_engine:fsdp2:selective:compiled"
    expect(launch("sequence_worker.py", 2, [check], tmp_path_factory.mktemp("compiled"), seconds=600), check)


def test_they_share_a_cache_of_references(four: dict[str, str]) -> None:
    expect(four, "cached_references")


def test_what_they_cannot_share_is_refused(four: dict[str, str]) -> None:
    expect(four, "what_does_not_divide")


def test_legal_numbers_of_ranks() -> None:
    tokens = 30 * 52  # 480p
    assert legal_degrees(heads=12, video_tokens=21 * tokens, reference_tokens=tokens) == [1, 2, 3, 4, 6, 12]
    assert legal_degrees(heads=12, video_tokens=21 * 35, reference_tokens=35) == [1]
    check_degree(6, 12, 21 * tokens, tokens)
    with pytest.raises(ValueError, match=r"8 ranks cannot share 12 heads.*the nearest number that does is 6"):
        check_degree(8, 12, 21 * tokens, tokens)
