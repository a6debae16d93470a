"""How fast relational attention, the network and sampling are: one table, all ratios of it measured in this run.

    .venv/bin/python scripts/benchmark.py                       # the first GPU (8 minutes), else a core (5 minutes)
    .venv/bin/python scripts/benchmark.py --device cpu --only attention

On a GPU it is the 1.3B with random weights, 480p x 81 frames, bf16. On a CPU it is a small network, whose ratios say
whether the parts do what they should, and whose times say nothing about the 1.3B. What is compared runs in turns, and
its results are compared first. A goal that is missed is told; it is no error.
"""

import argparse
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import which

import diffusers
import torch
from benchmark_attention import attention
from benchmark_compare import REFERENCES, Parts, Setup
from benchmark_gpu import release
from benchmark_network import SOME, sampling, step, training
from benchmark_table import Figure, at_least, at_most, table

from lumosx.attention import choose_backend
from lumosx.models.configs import transformer_defaults
from lumosx.models.cost import flops_by_part
from lumosx.pipelines.provenance import device_name
from lumosx.relations.typical import typical_layout

# A CUDA graph comes last, because a capture that fails may leave the device in disorder.
PARTS: dict[str, Callable[[Setup], Parts]] = {
    "attention": attention,
    "training": training,
    "sampling": sampling,
    "network": step,
}
THREADS = 1  # whose time is counted, so that other work on the machine takes nothing away


def cpu_setup() -> Setup:
    """A network that is large enough to be bound by arithmetic. References are a larger share of it than at 480p."""
    size = {"num_attention_heads": 2, "attention_head_dim": 128, "ffn_dim": 1024, "num_layers": 4, "text_dim": 256}
    attended = dict.fromkeys(REFERENCES, at_least(1.0)) | {8: at_least(1.3)}
    return Setup(
        device=torch.device("cpu"),
        dtype=torch.float32,
        transformer=transformer_defaults() | size | {"reference_timestep": "zero"},
        training_layers=2,
        video=(5, 12, 16),
        text=128,
        compiled=(4,),
        rounds=7,
        seconds=5,
        goals={
            "attention forward: dense mask / split": attended,
            "attention forward and backward: dense mask / split": attended,
            "training pass: dense mask / split": dict.fromkeys(SOME, at_least(1.0)),
            "a clip of lumosx-tiny: uncached / cached": {8: at_least(1.8)},
            "step: with MCAM / without MCAM": dict.fromkeys(SOME, at_most(1.03)),
        },
    )


def gpu_setup() -> Setup:
    """Wan2.1's 1.3B at 480p x 81 frames."""
    setup = Setup(
        device=torch.device("cuda"),
        dtype=torch.bfloat16,
        transformer=transformer_defaults() | {"reference_timestep": "zero"},
        training_layers=4,
        video=(21, 30, 52),
        text=512,
        compiled=(0, 4, 8, 12),
        rounds=3,
        seconds=5,
        goals={},
    )
    goals = {
        "attention forward: the video's call, TFLOP/s": {4: at_least(580)},
        "attention forward: split / the video's call": dict.fromkeys(REFERENCES, at_most(1.04)),
        "attention forward: split / full attention": {
            n: at_most(round(attended_share(setup, n) + 0.03, 3)) for n in REFERENCES
        },
        "step: with MCAM / without MCAM": dict.fromkeys(SOME, at_most(1.01)),
        "step: plain / references cached": {
            n: at_least(round(1 + 0.8 * (cached_speedup(setup, n) - 1), 3)) for n in (4, 8, 12)
        },
        "step: compiled, ms": {4: at_most(1250)},
        "step: 50 of them compiled, s": {n: at_most(s) for n, s in ((0, 52), (4, 62), (8, 74), (12, 85))},
        "step: peak memory, GB": {4: at_most(10)},
        "step: memory of MCAM, GB": {4: at_most(0.1)},
        "step: waits for the device": {4: at_most(0)},
        "step: copies to the device": {4: at_most(0)},
    }
    return replace(setup, goals=goals)


def attended_share(setup: Setup, references: int) -> float:
    """CSAM's FLOPs as a share of full attention's."""
    layout = typical_layout(setup.video, references, setup.text)
    return sum((q1 - q0) * (k1 - k0) for q0, q1, k0, k1 in layout.attention_ranges) / len(layout) ** 2


def cached_speedup(setup: Setup, references: int) -> float:
    """A step's FLOPs over those of one whose references are cached: what caching can give at best."""
    layout = typical_layout(setup.video, references, setup.text)
    whole, cached = (
        sum(flops_by_part(setup.transformer, [lo], part=part).total for lo in (layout, layout.without_words()))
        for part in ("joint", "video")
    )
    return whole / cached


def heading(setup: Setup) -> list[str]:
    """What a reader has to know to repeat it."""
    size, video = setup.transformer, " x ".join(map(str, setup.video))
    seconds = ", whose own time is told" if setup.device.type == "cpu" else ""
    layers = f"{size['num_layers']} layers ({setup.training_layers} in training)"
    heads = f"{size['num_attention_heads']} heads of {size['attention_head_dim']}"
    return [
        f"- command: `{' '.join(['python', 'scripts/benchmark.py', *sys.argv[1:]])}`",
        f"- device: {device_name(setup.device)}, threads: {torch.get_num_threads()}{seconds}",
        f"- versions: {', '.join(versions(setup.device))}",
        f"- network: {layers}, {heads}, random weights, {str(setup.dtype).removeprefix('torch.')}",
        f"- clip: {video} tokens, {setup.video[1] * setup.video[2]} a reference, {setup.text} of text",
        f"- split: {choose_backend(setup.device, setup.dtype, 'sdpa')[1]}",
        "- plain step: both branches of guidance one after the other, eager, nothing cached",
    ]


def versions(device: torch.device) -> list[str]:
    """Of the software that does the sums."""
    found = [
        f"Python {platform.python_version()}",
        f"PyTorch {torch.__version__}",
        f"diffusers {diffusers.__version__}",
    ]
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        told = subprocess.run(query, capture_output=True, text=True, check=False).stdout if which(query[0]) else ""
        driver = next(iter(told.splitlines()), "unknown")
        found += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}", f"driver {driver}"]
    return found


def report(setup: Setup, found: Sequence[Figure | str]) -> str:
    """Heading, table and notes in Markdown."""
    figures = [item for item in found if isinstance(item, Figure)]
    notes = [item for item in found if isinstance(item, str)]
    return "\n".join([*heading(setup), "", table(figures, notes)])


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write it there too")
    parser.add_argument("--only", choices=PARTS, help="measure one part alone")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device here")
    torch.set_num_threads(THREADS)
    warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")  # so it runs on a CPU
    setup = gpu_setup() if options.device == "cuda" else cpu_setup()
    found: list[Figure | str] = []
    try:
        for part in [options.only] if options.only else PARTS:
            found.extend(PARTS[part](setup))
            release()
    finally:  # also of what was measured before it was stopped
        text = report(setup, found)
        print(text)
        if options.out:
            options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
