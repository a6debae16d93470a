"""Every container that weights come in is read back exactly; damaged, unsafe and wrong ones are refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from wan_files import GOLDEN, Tensors, distribute, golden_weights, torch_file

from lumosx.errors import InputError
from lumosx.models.containers import read_state_dict

# dcp.save says so although it is told to work without a process group.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


@pytest.fixture
def golden() -> Tensors:
    return golden_weights()


def shard(folder: Path, weights: Tensors) -> Path:
    """Two safetensors files and their index."""
    folder.mkdir()
    weight_map = {name: f"part-{n % 2}.safetensors" for n, name in enumerate(weights)}
    for file in sorted(set(weight_map.values())):
        save_file({name: weights[name] for name, at in weight_map.items() if at == file}, folder / file)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


CONTAINERS: dict[str, Callable[[Path, Tensors], Path]] = {
    "safetensors": lambda tmp, w: GOLDEN,
    "shards": lambda tmp, w: shard(tmp / "w", w).parent,
    "index of shards": lambda tmp, w: shard(tmp / "w", w),
    "pt": lambda tmp, w: torch_file(tmp / "w.pt", w),
    "old pth": lambda tmp, w: torch_file(tmp / "w.pth", w, _use_new_zipfile_serialization=False),
    "pth under model_state": lambda tmp, w: torch_file(tmp / "vae.pth", {"model_state": w, "step": 3}),
    "pt under ema": lambda tmp, w: torch_file(tmp / "w.pt", {"ema": w, "args": {"lr": 1.0}}),
    "distributed": lambda tmp, w: distribute(tmp / "w", {"ema": w, "model": {"x": torch.ones(2)}, "step": 5}),
    "distributed under all": lambda tmp, w: distribute(tmp / "w" / "all", {"ema": w}).parent,
    "distributed with tables": lambda tmp, w: distribute(tmp / "w", {"ema": w | {"freqs_t": torch.ones(3)}}),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_back_the_tensors(container: str, tmp_path: Path, golden: Tensors) -> None:
    read = read_state_dict(CONTAINERS[container](tmp_path, golden))
    assert read.keys() == golden.keys()
    for name, tensor in golden.items():
        assert torch.equal(read[name], tensor), name


def test_containers_keep_the_dtype(tmp_path: Path) -> None:
    weights = {"a": torch.randn(3, 3).bfloat16(), "b": torch.randn(2).half()}
    for path in (torch_file(tmp_path / "w.pt", weights), distribute(tmp_path / "w", {"ema": weights})):
        assert {name: t.dtype for name, t in read_state_dict(path).items()} == {
            "a": torch.bfloat16,
            "b": torch.half,
        }


class Malicious:
    """Unpickling it writes a file, as a stand-in for anything worse."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return Path.touch, (self.proof,)


def test_pickled_objects_in_a_torch_file_are_refused(tmp_path: Path, golden: Tensors) -> None:
    proof = tmp_path / "proof"
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        path = torch_file(tmp_path / "w.pt", golden | {"head.head.bias": Malicious(proof)}, **options)
        with pytest.raises(InputError, match="holds pickled objects"):
            read_state_dict(path)
    assert not proof.exists()


def test_pickled_objects_in_distributed_metadata_are_refused(tmp_path: Path, golden: Tensors) -> None:
    folder, proof = distribute(tmp_path / "w", {"ema": golden}), tmp_path / "proof"
    (folder / ".metadata").write_bytes(pickle.dumps(Malicious(proof)))
    with pytest.raises(InputError, match=r"\.metadata is damaged or not the metadata.*refers to"):
        read_state_dict(folder)
    assert not proof.exists()


def test_a_pickle_cannot_climb_out_of_an_allowed_module(tmp_path: Path, golden: Tensors) -> None:
    """A dotted name, or a name that the metadata module merely imports, would reach everything."""
    folder = distribute(tmp_path / "w", {"ema": golden})
    module = b"torch.distributed.checkpoint.metadata"
    for name in (b"os.system", b"field", b"Enum"):
        texts = b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name))
        (folder / ".metadata").write_bytes(b"\x80\x04" + texts + b"\x93.")
        with pytest.raises(InputError, match=f"refers to {module.decode()}.{name.decode()}"):
            read_state_dict(folder)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_half_a_distributed_checkpoint(tmp_path: Path, golden: Tensors) -> None:
    cut, bare, headless = (distribute(tmp_path / name, {"ema": golden}) for name in ("cut", "bare", "headless"))
    truncate(next(cut.glob("*.distcp")))
    next(bare.glob("*.distcp")).unlink()
    (headless / ".metadata").unlink()
    for folder, message in ((cut, "incomplete or damaged"), (bare, "distcp"), (headless, r"no \.metadata")):
        with pytest.raises(InputError, match=message):
            read_state_dict(folder)


def test_distributed_checkpoints_that_hold_something_else(tmp_path: Path, golden: Tensors) -> None:
    with pytest.raises(InputError, match="no top-level key 'ema'; its keys are model, optimizer"):
        read_state_dict(distribute(tmp_path / "a", {"model": golden, "optimizer": {"x": torch.ones(1)}}))
    with pytest.raises(InputError, match=r"ema\.decay must be tensors"):
        read_state_dict(distribute(tmp_path / "b", {"ema": golden | {"decay": 0.99}}))


def test_damaged_shards(tmp_path: Path, golden: Tensors) -> None:
    index = shard(tmp_path / "absent", golden)
    (index.parent / "part-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"not beside it: part-1\.safetensors"):
        read_state_dict(index)
    index = shard(tmp_path / "short", golden)
    save_file({"other": torch.ones(1)}, index.parent / "part-1.safetensors")
    with pytest.raises(InputError, match=r"disagree on blocks\.0\..*more"):
        read_state_dict(index)
    index.write_text("{}")
    with pytest.raises(InputError, match="no usable weight_map"):
        read_state_dict(index)


def test_damaged_and_wrong_files(tmp_path: Path, golden: Tensors) -> None:
    halves = [torch_file(tmp_path / "half.pt", golden), tmp_path / "half.safetensors"]
    save_file(golden, halves[1])
    for path in halves:
        truncate(path)
        with pytest.raises(InputError, match=f"{path.name} is "):
            read_state_dict(path)
    for name, content, message in (
        ("text.pt", b"hello", "text.pt is "),
        ("empty.pth", b"", "empty.pth is "),
        ("notes.txt", b"hello", r"expected a \.safetensors file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_state_dict(tmp_path / name)
    with pytest.raises(InputError, match="no dict of tensors"):
        read_state_dict(torch_file(tmp_path / "list.pt", [torch.ones(1)]))


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.pt does not exist; expected a \.safetensors"):
        read_state_dict(tmp_path / "nothing.pt")
    (tmp_path / "README.md").touch()
    with pytest.raises(InputError, match=r"holds README\.md\); expected"):
        read_state_dict(tmp_path)
