"""Solvers for sampling: diffusers' schedulers, set up with the sigmas and timesteps that Wan and LumosX use.

diffusers' own ``set_timesteps`` gives other schedules (DPM-Solver++ starts at .999, Euler shifts sigma_min
twice), so sigmas and timesteps are computed once, in :func:`sigma_schedule`, and written into each scheduler.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumosx.errors import InputError
from lumosx.flow.objective import shift_sigmas

TRAIN_TIMESTEPS = 1000
# Beyond these, neighbouring sigmas of a long schedule coincide in float32 and the solvers divide by zero.
SHIFT_RANGE = (0.01, 100.0)


def sigma_schedule(steps: int, shift: float) -> tuple[Tensor, Tensor]:
    """Sigmas float32 ``[steps + 1]`` from 1 to exactly 0, and the model's timesteps int64 ``[steps]``.

    A uniform grid, shifted once. Timesteps truncate 1000 sigma, as the release does; that is computed in
    float64 because float32 is off by one at some steps.
    """
    sigmas = shift_sigmas(np.linspace(1, 0, steps + 1, dtype=np.float64), shift)
    timesteps = (TRAIN_TIMESTEPS * sigmas[:-1]).astype(np.int64)
    return torch.from_numpy(sigmas.astype(np.float32)), torch.from_numpy(timesteps)


def make_solver(name: str, steps: int, shift: float) -> Any:
    """A diffusers scheduler, ready for its first ``step(velocity, timestep, latents).prev_sample``.

    Args:
        name: ``dpm++`` (DPM-Solver++ 2M, the release's), ``unipc`` (Wan's default) or ``euler``.
        steps: model evaluations, 1 to 1000.
        shift: how far the schedule moves towards noise, 0.01 to 100; 1 is uniform, the release has 8.

    The schedule lives in the returned object: never call its ``set_timesteps``, make a new one for each clip.

    Raises:
        InputError: an illegal name, number of steps or shift; the message names the legal ones.
    """
    if name not in SOLVERS:
        raise InputError(f"unknown solver {name!r}; the solvers are {', '.join(SOLVERS)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= TRAIN_TIMESTEPS:
        raise InputError(f"steps must be a whole number from 1 to {TRAIN_TIMESTEPS}; got {steps!r}")
    low, high = SHIFT_RANGE
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not low <= shift <= high:
        raise InputError(f"shift must be a number from {low} to {high} (1 is uniform); got {shift!r}")
    return SOLVERS[name](*sigma_schedule(steps, shift), shift)


def _dpm_plus_plus(sigmas: Tensor, timesteps: Tensor, shift: float) -> Any:
    from diffusers import DPMSolverMultistepScheduler

    solver = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2
    )
    solver.set_timesteps(len(timesteps))
    solver.sigmas, solver.timesteps = sigmas, timesteps
    return solver


def _unipc(sigmas: Tensor, timesteps: Tensor, shift: float) -> Any:
    from diffusers import UniPCMultistepScheduler

    solver = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2
    )
    solver.set_timesteps(len(timesteps))
    # As diffusers does: at sigma = 1 the corrector would divide by an infinite step in log-SNR.
    solver.sigmas, solver.timesteps = sigmas.clamp(max=1 - 1e-6), timesteps
    return solver


def _euler(sigmas: Tensor, timesteps: Tensor, shift: float) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    # shift stays 1 here: this scheduler would apply its own on top of the sigmas it is given.
    solver = FlowMatchEulerDiscreteScheduler(shift=1.0)
    solver.set_timesteps(sigmas=sigmas[:-1].tolist(), timesteps=timesteps.tolist())
    return solver


SOLVERS: dict[str, Callable[[Tensor, Tensor, float], Any]] = {
    "dpm++": _dpm_plus_plus,
    "unipc": _unipc,
    "euler": _euler,
}
