"""The default solver equals the release's: same timesteps, sigmas and end point on a nonlinear field."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lumosx.flow import make_solver

GOLDEN = load_file(Path(__file__).parent / "golden" / "scheduler.safetensors")
CASES = sorted({key.rsplit(".", 1)[0] for key in GOLDEN})
BOUND = 1e-5


def end_point(case: str, name: str, steps: int, shift: float) -> torch.Tensor:
    solver, z = make_solver(name, steps, shift), GOLDEN[f"{case}.z0"]
    for t in solver.timesteps:
        velocity = torch.einsum("ij,bjthw->bithw", GOLDEN[f"{case}.A"], z) + torch.sin(2 * z + t / 1000)
        z = solver.step(velocity, t, z).prev_sample
    return z


def test_there_are_golden_cases() -> None:
    assert CASES == ["20.5.0", "50.8.0", "7.3.0"]


@pytest.mark.parametrize("case", CASES)
def test_equals_the_release(case: str) -> None:
    steps, shift = case.split(".", 1)
    solver = make_solver("dpm++", int(steps), float(shift))
    assert torch.equal(solver.timesteps.float(), GOLDEN[f"{case}.timesteps"])
    torch.testing.assert_close(solver.sigmas, GOLDEN[f"{case}.sigmas"], atol=BOUND, rtol=0)
    z1 = end_point(case, "dpm++", int(steps), float(shift))
    torch.testing.assert_close(z1, GOLDEN[f"{case}.z1"], atol=BOUND, rtol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("change", ["solver", "shift", "steps"])
def test_the_bound_sees_a_wrong_solver(case: str, change: str) -> None:
    steps, shift = case.split(".", 1)
    z1 = end_point(
        case,
        "unipc" if change == "solver" else "dpm++",
        int(steps) + (change == "steps"),
        float(shift) * (1.01 if change == "shift" else 1),
    )
    assert (z1 - GOLDEN[f"{case}.z1"]).abs().max() > 10 * BOUND
