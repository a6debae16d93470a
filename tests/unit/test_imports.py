"""Imports point down only, and the light parts of lumosx stay light: no torch behind `import lumosx`."""

import subprocess
import sys
from pathlib import Path

import pytest

import lumosx

ROOT = Path(__file__).resolve().parents[2]
HEAVY = "{'torch', 'diffusers', 'transformers', 'accelerate', 'peft'}"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = run(str(lint_imports), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", ["lumosx", "lumosx.scene", "lumosx.paths", "lumosx.cli.main"])
def test_light_modules_do_not_import_torch(module: str) -> None:
    result = run(sys.executable, "-c", f"import {module}, sys; print({HEAVY} & set(sys.modules))")
    assert result.stdout.strip() == "set()", result.stdout + result.stderr


@pytest.mark.parametrize("name", lumosx.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(lumosx, name) is not None
    assert name in dir(lumosx)


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(lumosx, "LumosY")
