"""How fast one training step of the 1.3B is: 480p x 81 frames, 4 references, random latents, one GPU.

    .venv/bin/python scripts/step_benchmark.py               # a Markdown table: full and selective, eager and compiled
    .venv/bin/python scripts/step_benchmark.py --dry-run     # what is expected of it, without a GPU
    .venv/bin/python scripts/step_benchmark.py --tiny        # the tiny model, on any machine

A step is the trainer's own: forward and backward pass, clipping, AdamW, EMA. Data and encoding are not in it. MFU
counts the FLOPs that the layout needs, without what checkpointing computes again, at the device's dense bf16 peak.
"""

import argparse
import gc
import platform
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lumosx.data.batch import Bucket, EncodedBatch
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.cost import flops_by_part, training_flops
from lumosx.models.gpus import peak_flops
from lumosx.paths import configs_dir
from lumosx.relations import TokenLayout
from lumosx.training.apply import prepare_model
from lumosx.training.architecture import codec_config, transformer_config
from lumosx.training.config import Config, load_config
from lumosx.training.ema import Ema
from lumosx.training.engines import make_engine
from lumosx.training.objective import Objective
from lumosx.training.plan import make_plan
from lumosx.training.ranks import Ranks

GIB = 2**30
WARM_UP = 3  # steps; the first compile


@dataclass(frozen=True)
class Result:
    """A line of the table; None where it cannot be known."""

    checkpointing: str
    compiled: bool
    seconds: float | None
    memory: int | None  # bytes
    mfu: float | None


def configuration(tiny: bool, checkpointing: str = "full", compiled: bool = False) -> Config:
    """One clip a step of the shipped experiment, of one bucket and one person, in one process."""
    experiment = ["experiment=tiny_1", "optim.muon_lr=null"] if tiny else ["experiment=phase1_480p"]
    bucket = "64x64x17" if tiny else "832x480x81"
    common = [
        f"data.buckets=[{bucket}]", "data.path=clips", "data.cache=cache", "data.variants=1", "data.subjects=[1]",
        "data.noises=1", "train.batch=1", "train.micro_batch=1", "parallel.engine=single",
        f"train.checkpointing={checkpointing}", f"train.compile={compiled}",
    ]  # fmt: skip
    return load_config([*experiment, *common], configs_dir())


def random_batch(config: Config, layout: TokenLayout, device: torch.device) -> EncodedBatch:
    """A clip of random latents."""
    bucket, codec = Bucket.parse(config.data.buckets[0]), codec_config(config)
    space, frames = codec["scale_factor_spatial"], layout.video[0] * transformer_config(config)["patch_size"][0]
    shape = (bucket.height // space, bucket.width // space)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, device=device)

    return EncodedBatch(
        samples=["benchmark"],
        latents=draw(1, codec["z_dim"], frames, *shape),
        references=[draw(codec["z_dim"], len(layout.references), *shape)],
        text=draw(1, config.model.text_length, transformer_config(config)["text_dim"]),
        layouts=[layout],
    )


def measure(config: Config, layout: TokenLayout, steps: int) -> Result:
    """Times `steps` steps behind the first ones."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ranks = Ranks(0, 1, device)
    with device:
        model = LumosXTransformer3DModel(**transformer_config(config))
    prepare_model(model, config, ranks)
    engine = make_engine(model, config, ranks)
    ema = Ema(engine, config.train.ema)
    objective = Objective(config.objective, config.data.noises, shared=False, seed=0)
    batch = random_batch(config, layout, device)
    times = []
    for step in range(WARM_UP + steps):
        started = time.perf_counter()
        engine.backward(objective(engine.forward, batch))
        engine.clip(config.optim.clip)
        engine.step()
        ema.update(step)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times[WARM_UP:])
    on_gpu = device.type == "cuda"
    peak = peak_flops(torch.cuda.get_device_name()) if on_gpu else None
    needed = training_flops(flops_by_part(model.config, [layout]))
    return Result(
        config.train.checkpointing,
        config.train.compile,
        seconds,
        torch.cuda.max_memory_allocated() if on_gpu else None,
        needed / seconds / peak if peak else None,
    )


def run(tiny: bool, checkpointing: str, compiled: bool, steps: int) -> Result:
    """One line, on a device that nothing else is left on; without numbers where its memory is too small."""
    config = configuration(tiny, checkpointing, compiled)
    layout = make_plan(config, "H100", 1).heaviest.layout
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        return measure(config, layout, steps)
    except torch.OutOfMemoryError:
        return Result(checkpointing, compiled, None, None, None)
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def expect(tiny: bool, checkpointing: str, gpu: str) -> Result:
    """The same line as it is planned, eager."""
    plan = make_plan(configuration(tiny, checkpointing), gpu, 1)
    seconds = plan.seconds(checkpointing)
    memory = sum(plan.memory(checkpointing).values()) - sum(plan.frozen.values())  # nothing is encoded here
    return Result(checkpointing, False, seconds, memory, training_flops(plan.forward) / seconds / plan.peak)


def table(results: list[Result]) -> str:
    """Markdown."""
    lines = ["| checkpointing | compiled | s/step | peak memory, GiB | MFU |", "|---|---|---:|---:|---:|"]
    for result in results:
        if result.seconds is None:
            numbers = ["out of memory", "", ""]
        else:
            numbers = [
                f"{result.seconds:.3g}",
                "" if result.memory is None else f"{result.memory / GIB:.1f}",
                "" if result.mfu is None else f"{result.mfu:.1%}",
            ]
        cells = [result.checkpointing, "yes" if result.compiled else "no", *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="what is expected, eager; no GPU is needed")
    parser.add_argument("--gpu", default="H100", help="of --dry-run (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="the tiny model on its own clips")
    parser.add_argument("--eager", action="store_true", help="without compilation")
    parser.add_argument("--steps", type=int, default=5, help="timed steps a line (default: %(default)s)")
    options = parser.parse_args()
    what = "lumosx-tiny, 64x64x17" if options.tiny else "LumosX 1.3B, 832x480x81"
    modes = ("full", "selective")
    if options.dry_run:
        print(f"{what}, 4 references, batch 1, expected of one {options.gpu}\n")
        print(table([expect(options.tiny, mode, options.gpu) for mode in modes]))
        return
    if not options.tiny and not torch.cuda.is_available():
        parser.error("the 1.3B needs a CUDA device; --dry-run needs none, --tiny runs anywhere")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU"
    print(f"{what}, 4 references, batch 1 on {device}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}\n")
    compiled = (False,) if options.eager else (False, True)
    print(table([run(options.tiny, mode, flag, options.steps) for mode in modes for flag in compiled]))


if __name__ == "__main__":
    main()
