"""What the step caches save and what they change: one Markdown table, all of it from one run.

    .venv/bin/python scripts/step_caches.py                                     # the shipped tiny model on one core
    .venv/bin/python scripts/step_caches.py --scenes */scene.yaml               # clips of several scenes together
    .venv/bin/python scripts/step_caches.py --model PATH --device cuda --steps 50 --rounds 1

Every clip is compared with the exact one of its scene and seed. Blocks are those that are computed, time is that of the
denoising, both relative to the exact clips of this run; all take turns, and of a clip the fastest round counts.
Latents: relative L2 distance of the last ones. PSNR: of all 8-bit values of a clip. Both are means over the clips, with
the worst clip in brackets.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor

from lumosx import LumosXPipeline, Scene
from lumosx.cli.sample import choose_device, open_pipeline
from lumosx.paths import checkpoint_path, configs_dir
from lumosx.pipelines.branches import Branch
from lumosx.pipelines.provenance import device_name, versions
from lumosx.pipelines.settings import Settings
from lumosx.pipelines.step_cache import StepCache

CACHES = (
    "none", "first-block:0.05", "first-block:0.08", "first-block:0.15", "taylorseer:2", "taylorseer:3", "taylorseer:5",
)  # fmt: skip
PEAK = 255


@dataclass(frozen=True)
class Clip:
    """One seed of one scene under one cache."""

    latents: Tensor
    frames: np.ndarray
    blocks: int
    seconds: float


class Counter(ModelHook):
    """Counts the blocks that are really computed: registered first, it is inside of a cache's hooks."""

    calls = 0

    def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        """One more."""
        type(self).calls += 1
        return args, kwargs


def count_blocks(pipeline: LumosXPipeline) -> None:
    """From now on `Counter.calls` counts."""
    for block in pipeline.transformer.blocks:
        HookRegistry.check_if_exists_or_initialize(block).register_hook(Counter(), "counter")


@torch.no_grad()
def measure(
    pipeline: LumosXPipeline, scenes: Sequence[Scene], steps: int | None, seeds: Sequence[int], rounds: int
) -> list[list[str]]:
    """The lines of one number of steps, the exact clips' first; None: of the checkpoint's own number."""
    measured: dict[str, list[Clip]] = {cache: [] for cache in CACHES}
    for scene in scenes:
        job = pipeline.prepare(scene, steps=steps)
        branches = pipeline.make_branches(job)
        for seed in seeds:
            runs = [[sample(pipeline, branches, job.settings, seed, cache) for cache in CACHES] for _ in range(rounds)]
            for cache, clips in zip(CACHES, zip(*runs, strict=True), strict=True):
                measured[cache].append(min(clips, key=lambda clip: clip.seconds))
    return [[str(job.settings.steps), cache, *figures(clips, measured["none"])] for cache, clips in measured.items()]


def sample(pipeline: LumosXPipeline, branches: Sequence[Branch], settings: Settings, seed: int, cache: str) -> Clip:
    """A clip, and what its denoising took."""
    before, started = Counter.calls, time.perf_counter()
    latents = pipeline.denoise(branches, settings, (seed,), cache=StepCache.parse(cache))
    if latents.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return Clip(latents, pipeline.decode(latents), Counter.calls - before, seconds)


def figures(clips: Sequence[Clip], exact: Sequence[Clip]) -> list[str]:
    """Cells."""
    pairs = list(zip(clips, exact, strict=True))
    blocks = sum(clip.blocks for clip in clips) / sum(clip.blocks for clip in exact)
    seconds = sum(clip.seconds for clip in clips) / sum(clip.seconds for clip in exact)
    distances = [distance(ours.latents, theirs.latents) for ours, theirs in pairs]
    likenesses = [psnr(ours.frames, theirs.frames) for ours, theirs in pairs]
    return [
        f"{blocks:.0%}",
        f"{seconds:.0%}",
        f"{mean(distances):.3f} ({max(distances):.3f})",
        f"{mean(likenesses):.1f} ({min(likenesses):.1f})",
    ]


def distance(ours: Tensor, exact: Tensor) -> float:
    """Relative L2."""
    return float((ours - exact).norm() / exact.norm())


def psnr(ours: np.ndarray, exact: np.ndarray) -> float:
    """Of two clips in 8 bits, dB."""
    error = float(np.square(ours.astype(np.float64) - exact).mean())
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def header(pipeline: LumosXPipeline, model: str, scenes: Sequence[Scene], seeds: Sequence[int]) -> str:
    """What was run, on what."""
    device, found = pipeline._execution_device, versions()
    settings = pipeline.prepare(scenes[0]).settings
    threads = f", threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    packages = ", ".join(f"{name} {found[name]}" for name in ("python", "torch", "diffusers", "lumosx"))
    return (
        f"{model}, {', '.join(scene.id for scene in scenes)}, seeds {', '.join(map(str, seeds))}: {settings.size}, "
        f"{settings.frames} frames, {settings.solver}, shift {settings.shift:g}, cfg {settings.cfg:g}\n"
        f"{pipeline.transformer.dtype} on {device_name(device)}{threads}; {packages}\n"
        f"{shlex.join(['python', *sys.argv])}\n"
    )


def main() -> None:
    """Prints one table."""
    shipped = configs_dir() / "scenes/two_friends/scene.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lumosx-tiny", help="a checkpoint (default: %(default)s)")
    parser.add_argument("--scenes", type=Path, nargs="+", default=[shipped], help="files (default: two_friends)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--steps", type=int, nargs="+", help="(default: the checkpoint's own, and 50)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = open_pipeline(checkpoint_path(options.model), *choose_device(options.device, "auto"))
    scenes, seeds = [Scene.load(path) for path in options.scenes], range(options.seeds)
    print(header(pipeline, options.model, scenes, seeds))
    print("| steps | step cache | blocks | time | latents apart | PSNR, dB |")
    print("|---:|---|---:|---:|---:|---:|")
    count_blocks(pipeline)
    for steps in options.steps or (None, 50):
        for cells in measure(pipeline, scenes, steps, seeds, options.rounds):
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
