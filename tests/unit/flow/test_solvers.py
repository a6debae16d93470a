"""Solvers against exact solutions, the closed form of DPM-Solver++ 2M, and the schedule's own rules."""

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.flow import SOLVERS, make_solver, sigma_schedule

Field = Callable[[torch.Tensor, float], torch.Tensor]
NAMES = tuple(SOLVERS)
# Release: floor(1000 sigma) for 50 steps and shift 8.
RELEASE_TIMESTEPS = """1000 997 994 992 989 986 983 980 976 973 969 965 962 957 953 949 944 939 934 928 923
916
910 903 896 888 880 872 862 852 842 830 818 804 790 774 756 737 716 692 666 637 603 565 521 470 410 338 250
140"""


def run(name: str, steps: int, shift: float, start: torch.Tensor, field: Field) -> torch.Tensor:
    solver = make_solver(name, steps, shift)
    sample = start
    for timestep, sigma in zip(solver.timesteps, solver.sigmas, strict=False):
        sample = solver.step(field(sample, sigma.item()), timestep, sample).prev_sample
    return sample


def start(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (1, 4, 2, 3, 3), generator=torch.Generator().manual_seed(0))


def wavy(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.tanh(x).roll(1, -1) - 0.5 * x + torch.sin(2 * x + sigma)


def dpm_closed_form(steps: int, shift: float, x: torch.Tensor, field: Field) -> torch.Tensor:
    """x' = r x + (1 - r)(m + c), m = x - sigma v, c = (h / 2 h_before)(m - m_before) but 0 at both ends."""
    u = [1 - i / steps for i in range(steps + 1)]
    sigmas = [shift * a / (1 + (shift - 1) * a) for a in u]
    lambdas = [-math.inf if s == 1 else math.inf if s == 0 else math.log((1 - s) / s) for s in sigmas]
    x, before = x.double(), None
    for i in range(steps):
        m = x - sigmas[i] * field(x, sigmas[i])
        correction = torch.zeros_like(x)
        if before is not None and 2 <= i <= steps - 2:
            ratio = (lambdas[i + 1] - lambdas[i]) / (lambdas[i] - lambdas[i - 1])
            correction = 0.5 * ratio * (m - before)
        r = sigmas[i + 1] / sigmas[i]
        x, before = r * x + (1 - r) * (m + correction), m
    return x


@pytest.mark.parametrize(("steps", "shift"), [(1, 8.0), (2, 3.0), (3, 8.0), (7, 3.0), (20, 5.0), (50, 8.0), (50, 1.0)])
def test_dpm_equals_its_closed_form(steps: int, shift: float) -> None:
    ours = run("dpm++", steps, shift, start(), wavy)
    torch.testing.assert_close(ours.double(), dpm_closed_form(steps, shift, start(), wavy), atol=1e-5, rtol=0)


def test_release_timesteps() -> None:
    solver = make_solver("dpm++", 50, 8.0)
    assert solver.timesteps.tolist() == [int(t) for t in RELEASE_TIMESTEPS.split()]


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.integers(1, 60), shift=st.floats(0.5, 20))
@settings(max_examples=15, deadline=None)
def test_schedule_of_every_solver(name: str, steps: int, shift: float) -> None:
    solver = make_solver(name, steps, shift)
    sigmas, timesteps = sigma_schedule(steps, shift)
    assert len(solver.timesteps) == steps and len(solver.sigmas) == steps + 1
    assert solver.sigmas[-1].item() == 0
    assert (solver.sigmas.diff() < 0).all()
    # unipc alone starts a millionth below 1.
    torch.testing.assert_close(solver.sigmas, sigmas, atol=1.1e-6 if name == "unipc" else 0, rtol=0)
    assert solver.timesteps.tolist() == timesteps.tolist()
    assert (timesteps <= 1000 * sigmas[:-1] + 1e-3).all() and (timesteps > 1000 * sigmas[:-1] - 1.001).all()


def test_shift_is_applied_once() -> None:
    for name in NAMES:
        last = make_solver(name, 50, 5.0).sigmas[-2].item()
        assert last == pytest.approx(5 / 50 / (1 + 4 / 50), abs=1e-6), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 9, 1000])
def test_constant_velocity_is_exact(name: str, steps: int) -> None:
    """One clip, one noise: v = eps - x0 is constant along the path and every solver must arrive at x0."""
    eps, x0 = start(), start().flip(0, 1)
    end = run(name, steps, 8.0, eps, lambda x, sigma: eps - x0)
    # unipc starts at 1 - 1e-6 and so leaves a millionth of the noise.
    torch.testing.assert_close(end, x0, atol=2e-5, rtol=0)


def gaussian_velocity(x: torch.Tensor, sigma: float, spread: float = 2.0) -> torch.Tensor:
    """E[eps - x0 | x_t = x] for x0 ~ N(0, spread^2). The exact end of the path is spread * start."""
    variance = (1 - sigma) ** 2 * spread**2 + sigma**2
    return (sigma - (1 - sigma) * spread**2) / variance * x


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("dpm++", 2), ("unipc", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    ends = [run(name, n, 3.0, start(), gaussian_velocity) for n in (64, 128, 256)]
    error = [(end - 2 * start()).abs().max().item() for end in ends]
    for coarse, fine in pairwise(error):
        assert 2 ** (order - 0.4) < coarse / fine < 2 ** (order + 0.4), error


@pytest.mark.parametrize("name", NAMES)
def test_a_solver_carries_nothing_over_to_the_next(name: str) -> None:
    first = run(name, 9, 8.0, start(), wavy)
    assert torch.equal(first, run(name, 9, 8.0, start(), wavy))
    assert torch.isfinite(first).all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_mix(name: str) -> None:
    batch = start(3, 4, 2, 3, 3)
    together = run(name, 6, 5.0, batch, lambda x, sigma: torch.sin(2 * x + sigma))
    alone = [run(name, 6, 5.0, x[None], lambda x, sigma: torch.sin(2 * x + sigma)) for x in batch]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)


def test_unipc_has_the_sigmas_that_diffusers_gives_it() -> None:
    """The stock scheduler, given an unshifted uniform grid, shifts it once and steps back from 1."""
    stock = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=8.0)
    stock.set_timesteps(sigmas=np.linspace(1, 0, 21)[:-1])  # type: ignore[arg-type]
    torch.testing.assert_close(make_solver("unipc", 20, 8.0).sigmas, stock.sigmas, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [0.01, 100.0])
def test_the_first_timestep_is_unique(name: str, shift: float) -> None:
    """diffusers finds the first step by its timestep, so no later one may equal it in any schedule."""
    solver = make_solver(name, 1000, shift)
    solver.step(start(), solver.timesteps[0], start())
    assert solver.step_index == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ddim", 50, 8.0), r"'ddim'.*dpm\+\+, unipc, euler"),
        (("dpm++", 0, 8.0), "from 1 to 1000; got 0"),
        (("dpm++", 1001, 8.0), "from 1 to 1000"),
        (("dpm++", 50.0, 8.0), "whole number"),
        (("dpm++", True, 8.0), "whole number"),
        (("euler", 50, 0.0), "shift must be a number from 0.01 to 100"),
        (("euler", 50, -8.0), "shift must be"),
        (("unipc", 50, math.inf), "shift must be"),
        (("unipc", 50, math.nan), "shift must be"),
        (("unipc", 50, "8"), "shift must be"),
    ],
)
def test_wrong_arguments_name_the_legal_ones(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_solver(*arguments)


def test_importing_flow_does_not_import_diffusers() -> None:
    code = "import sys, lumosx.flow; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
