"""The wheel carries the configs and the tiny checkpoint: an installed lumosx works outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, stdin=subprocess.DEVNULL)
    (built,) = folder.glob("lumosx-*.whl")
    return built


def tracked(folder: str) -> set[str]:
    """Files under a folder of the checkout, leaving out what tools write there."""
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert tracked("lumosx") <= names
    data = tracked("configs") | tracked("checkpoints/lumosx-tiny") | tracked("checkpoints/playground-eyes")
    assert "checkpoints/lumosx-tiny/model_index.json" in data
    assert "checkpoints/playground-eyes/model.safetensors" in data
    assert "configs/scenes/two_friends/scene.yaml" in data
    assert {f"lumosx/_data/{name}" for name in data} <= names


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lumosx"}
    assert not [name for name in names if "__pycache__" in name]


def test_unpacked_wheel_finds_its_data_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from lumosx.paths import checkpoint_path, configs_dir;"
        "print(checkpoint_path('checkpoints/lumosx-tiny')); print(configs_dir());"
        "from lumosx.paths import shipped; print(shipped('checkpoints/playground-eyes'))"
    )
    env = {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    data = site / "lumosx" / "_data"
    expected = [str(data / name) for name in ("checkpoints/lumosx-tiny", "configs", "checkpoints/playground-eyes")]
    assert result.stdout.splitlines() == expected, result.stderr
