"""Flow matching: the training objective, noise levels, solvers and guidance.

Plain tensor functions with no model in them, so training, sampling and tests share one definition.
"""

from lumosx.flow.guidance import classifier_free, image_guided
from lumosx.flow.objective import (
    flow_matching_loss,
    noise_latents,
    sample_sigmas,
    shift_sigmas,
    velocity_target,
)
from lumosx.flow.solvers import SOLVERS, make_solver, sigma_schedule

__all__ = [
    "SOLVERS",
    "classifier_free",
    "flow_matching_loss",
    "image_guided",
    "make_solver",
    "noise_latents",
    "sample_sigmas",
    "shift_sigmas",
    "sigma_schedule",
    "velocity_target",
]
