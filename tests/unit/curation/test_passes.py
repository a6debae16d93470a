"""Passes over the clips: which need a GPU, which models their processes make, and that processes change no outcome."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from curation_toys import First, Second, blob_names, clips, toys

from lumosx.curation.blobs import Blobs
from lumosx.curation.curate import curate
from lumosx.curation.ledger import Ledger
from lumosx.curation.models import MODELS, REGISTRY
from lumosx.curation.pipeline import GROUPS, SOURCES, make_stages
from lumosx.curation.run import Engine, Standing, Worker, advance, local, spread
from lumosx.curation.setup import ELSEWHERE, Absent, Past, Setup, cards, on_gpu
from lumosx.curation.stage import Look, fingerprints
from lumosx.curation.stages.shots import ShotSplit
from lumosx.curation.stages.values import Shots
from lumosx.ray_engine import map_with_ray, share
from lumosx.vision import ModelCard, registry

PASSES = {"shots": SOURCES, **GROUPS}
SERVERS = ("captioner=server:http://h/v1@m", "tagger=server:http://h/v1@m", "scorer=q-align:http://h")


def needing(device: str, profile: str, *models: str) -> list[str]:
    """The passes that need a GPU."""
    setup = Setup(profile, models, device=device)
    return [name for name, kinds in PASSES.items() if on_gpu(setup, kinds)]


def test_a_pass_needs_a_gpu_only_if_its_models_compute_on_one() -> None:
    everything = ["scores", "words", "pictures", "backgrounds"]
    assert needing("cuda", "permissive") == everything
    assert needing("cuda", "permissive", "flow=raft:raft.pth") == ["footage", *everything]
    assert needing("cuda", "permissive", *SERVERS, "people=people-by-faces", "embedder=layout") == everything[2:]
    assert needing("cuda", "offline") == []
    assert needing("cpu", "permissive") == []


def test_models_elsewhere_are_those_that_leave_the_device_alone() -> None:
    for name, entry in MODELS.items():
        module, _, kind = entry.adapter.rpartition(".")
        if entry.weights is not None:
            source = Path(str(find_spec(f"lumosx.{module}").origin)).read_text(encoding="utf-8")  # type: ignore
            own = source.partition(f"class {kind}")[2].partition("\nclass ")[0]
            assert (name in ELSEWHERE) == ("del device" in own), name


@pytest.mark.parametrize(
    ("resources", "workers", "gpu", "expected"),
    [
        ({"CPU": 64.0, "GPU": 8.0}, None, True, (8, {"num_gpus": 1})),
        ({"CPU": 64.0, "GPU": 8.0}, None, False, (63, {"num_cpus": 1})),
        ({"CPU": 64.0, "GPU": 8.0}, 40, False, (40, {"num_cpus": 1})),
        ({"CPU": 64.0, "GPU": 8.0}, 2, True, (2, {"num_gpus": 1})),
        ({"CPU": 4.0}, None, True, (3, {"num_cpus": 1})),
        ({"CPU": 1.0}, None, False, (1, {"num_cpus": 1})),
    ],
)
def test_what_a_process_takes(resources: dict[str, float], workers: int | None, gpu: bool, expected: Any) -> None:
    assert share(resources, workers, gpu) == expected


def test_a_process_makes_the_models_of_its_own_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[str]()

    def make(entry: Any, choice: Any, device: str) -> Absent:
        made.append(choice.model)
        return Absent(ModelCard(choice.model, "tests", "1", "Apache-2.0", True))

    monkeypatch.setattr(registry, "_make", make)
    setup = Setup("permissive", settings=("flow.most=3.0",))
    stages = setup.stages()
    past = Past(Path("videos"), setup, setup.stated(), cards(stages))
    for name, models in {
        "shots": [],
        "footage": ["rapidocr", "dis"],
        "scores": ["qwen3-vl", "rtdetr", "xclip"],
        "words": ["qwen3-vl"],
        "pictures": ["dlib-hog", "dlib-resnet", "grounding-dino", "sam2"],
        "backgrounds": ["rtdetr", "sam2", "z-image"],
        "videos": [],
    }.items():
        made.clear()
        own = past.stages(PASSES[name])
        assert sorted(made) == sorted(models)
        assert fingerprints(own) == fingerprints(stages)
        assert all(own[kind] == stages[kind] for kind in PASSES[name])


def test_what_is_measured_is_the_same_with_any_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No fingerprint has the seed, so a second run with another one would mix the chance of two."""
    drawn = list[float]()

    def measure(self: ShotSplit, look: Look) -> Shots:
        drawn.append(float(look.random("a purpose").random()))
        return Shots(width=64, height=64, fps=16.0, seconds=1.0, clips=[])

    monkeypatch.setattr(ShotSplit, "measure", measure)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"a video")
    models = {role: Absent(ModelCard(role, "tests", "1", "Apache-2.0", True)) for role in REGISTRY._roles}
    monkeypatch.setattr(Setup, "stages", lambda self: make_stages(models, self.stated()))
    for seed in (0, 1):
        curate(tmp_path / "videos", tmp_path / f"out{seed}", Setup(seed=seed))
    assert len(drawn) == 2 and drawn[0] == drawn[1]


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the processes find the toys
        yield
    ray.shutdown()


def test_two_processes_give_what_one_does(tmp_path: Path, on_ray: None) -> None:
    """Values, failures and blobs."""
    stages = toys(tmp_path / "calls", fails=(1,), transient=(2,), most=4)

    def run(out: Path, engine: Engine) -> tuple[list[Standing], dict[str, bytes]]:
        everybody = [Standing(clip) for clip in clips(6, tmp_path)]
        standings = advance(everybody, (First, Second), stages, Ledger(out / "ledger"), engine, budget=1.0)
        return standings, blob_names(Blobs(out / "media"))

    here, blobs = run(tmp_path / "here", local(Worker(stages, tmp_path / "here" / "media")))
    make = partial(Worker, stages, tmp_path / "spread" / "media")
    assert run(tmp_path / "spread", spread(make, workers=2)) == (here, blobs)
    assert [standing.alive for standing in here] == [True, False, False, True, True, False]
    assert len(blobs) == 4


def test_as_many_processes_work_as_are_wanted(tmp_path: Path, on_ray: None) -> None:
    def make() -> Callable[[int], int]:
        def wait_for_the_other(number: int) -> int:
            (tmp_path / f"{os.getpid()}").touch()
            until = time.monotonic() + 30
            while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
                time.sleep(0.05)
            return os.getpid()

        return wait_for_the_other

    assert len({process for _, process in map_with_ray([0, 1], make, workers=2)}) == 2


class Sent(int):
    """Notes when it is sent to a process."""

    sent: ClassVar[list[int]] = []

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        self.sent.append(int(self))
        return int, (int(self),)


def test_a_job_is_sent_once_and_not_to_all(on_ray: None) -> None:
    jobs = [Sent(number) for number in range(-4, 0)]
    assert sorted(map_with_ray(jobs, lambda: abs, workers=2)) == [(0, 4), (1, 3), (2, 2), (3, 1)]
    assert Sent.sent == [-4, -3, -2, -1]
