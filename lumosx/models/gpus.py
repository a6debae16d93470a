"""What GPUs can do at best, as their makers state it, and what share of it we take training and sampling to reach."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lumosx.errors import InputError

LAUNCH = 5e-6  # seconds that the start of a kernel takes; an assumption, which matters for small models only
TRANSFER = 20e9  # bytes a second from the CPU's memory to a GPU's; an assumption: what PCIe 4 reaches

PRODUCT, COPIED = 1024, 2**24  # rows and columns of the matrices, and numbers, by which a processor is measured


@dataclass(frozen=True)
class Sampling:
    """What share of a GPU's rates sampling is assumed to reach. Published or assumed, not measured by this project."""

    products: float  # large matrix products, of the bf16 peak
    attention: float  # by the backend that `auto` takes, of the bf16 peak
    codec: float  # 3D convolutions, of the TF32 peak
    basis: str


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    `efficiency` is an assumption, not a measurement of this project: the share of `peak` at which a training step's
    arithmetic runs, recomputed activations included, once it is bound by matrix products and attention.
    """

    name: str
    peak: float  # bf16 FLOP/s, dense, accumulated in float32
    peak_fp32: float  # FLOP/s in float32 proper, which PyTorch computes products in by default
    peak_tf32: float  # FLOP/s in which PyTorch computes convolutions of float32
    bandwidth: float  # bytes a second, of its memory
    memory: int  # bytes, as nvidia-smi reports them
    source: str
    efficiency: float
    basis: str  # of the assumption
    kernel: str  # of the attention that `auto` takes
    sampling: Sampling
    launch: float = LAUNCH  # seconds

    @property
    def is_processor(self) -> bool:
        """Whether this is a CPU."""
        return self.name == "cpu"

    @property
    def number(self) -> int:
        """Bytes of a number of the weights that sampling computes with: float32 on a CPU, else bfloat16."""
        return 4 if self.is_processor else 2


_MIB = 2**20
_HOPPER = (
    "kernel times published for cuDNN attention and large matrix products on an H100, put together for this network: "
    "38 % MFU with full checkpointing, 44 % with selective"
)
_HOPPER_SAMPLING = Sampling(0.71, 0.63, 0.25, "of 989 TFLOP/s: 700 in matrix products, 620 in cuDNN's attention, "
    "both published for an H100; the codec's share is a guess")  # fmt: skip

GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 312e12, 19.5e12, 156e12, 2.039e12, 81920 * _MIB, "NVIDIA A100 80GB data sheet, SXM", 0.55,
            "57 % MFU published for a language model with selective checkpointing (torchtitan)",
            "FlashAttention-2", Sampling(0.7, 0.61, 0.3,
            "so that Wan's 1.3B takes the 175 s a clip without references that TeaCache's authors give for an A800; "
            "the codec's share is a guess")),
        Gpu("H20", 148e12, 44e12, 74e12, 4.0e12, 97871 * _MIB, "NVIDIA H20 data sheet, 96 GB", 0.75,
            "79 % of the peak published for attention of this network in sampling, 89 % at best",
            "cuDNN", Sampling(0.85, 0.85, 0.5,
            "between the 117 and 132 of 148 TFLOP/s that LumosX's authors reach in whole steps of this network; "
            "the codec's share is a guess")),
        Gpu("H100", 989e12, 67e12, 494e12, 3.35e12, 81559 * _MIB, "NVIDIA H100 data sheet, SXM, 80 GB", 0.54, _HOPPER,
            "cuDNN", _HOPPER_SAMPLING),
        Gpu("H200", 989e12, 67e12, 494e12, 4.8e12, 143771 * _MIB, "NVIDIA H200 data sheet, SXM", 0.54, _HOPPER,
            "cuDNN", _HOPPER_SAMPLING),
        Gpu("4090", 165.2e12, 82.6e12, 82.6e12, 1.008e12, 24564 * _MIB,
            "NVIDIA Ada architecture white paper, RTX 4090", 0.55,
            "as for the A100, whose kernels it runs; not measured",
            "FlashAttention-2", Sampling(0.88, 0.83, 0.4,
            "so that Wan's 1.3B takes the 261 s a clip without references that its authors give; "
            "the codec's share is a guess")),
    )
}  # fmt: skip


def find_gpu(name: str) -> Gpu:
    """The GPU called `name`, such as "H100".

    Raises:
        InputError: not in the table.
    """
    gpu = GPUS.get(name.upper())
    if gpu is None:
        raise InputError(f"GPU {name!r} is not known: choose one of {', '.join(GPUS)}")
    return gpu


def this_cpu() -> Gpu:
    """This machine's processor as a card: products, copies and the start of an operation are timed now (a second)."""
    import psutil
    import torch

    x, line, dot = torch.randn(PRODUCT, PRODUCT), torch.zeros(COPIED), torch.zeros(1)
    rate = 2 * PRODUCT**3 / _timed(lambda: torch.mm(x, x))
    bandwidth = 2 * line.nbytes / _timed(lambda: line.add_(1))
    launch = _timed(lambda: dot + 1)
    source = f"measured just now: {rate / 1e9:,.0f} GFLOP/s in products, {bandwidth / 1e9:,.0f} GB/s in copies"
    sampling = Sampling(1.0, 1.0, 1.0, "all of it as fast as float32 products of 1,024 x 1,024, a copy and a start")
    memory = psutil.virtual_memory().total
    return Gpu(
        "cpu", rate, rate, rate, bandwidth, memory, source, 1.0, "measured", "CPU flash attention", sampling, launch
    )


def _timed(run: Callable[[], Any], limit: float = 0.3) -> float:
    """Seconds that one run takes, on average over a while. The first run, which wakes the threads, does not count."""
    run()
    runs, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < limit:
        run()
        runs += 1
    return spent / runs


def peak_flops(device_name: str) -> float | None:
    """The dense bf16 peak of a device by the name that CUDA gives it ("NVIDIA H100 80GB HBM3"); None if not known.

    PCIe and NVL cards have the chip's name but not its rate, so they are not known.
    """
    words = set(re.split(r"[^A-Za-z0-9]+", device_name.upper()))
    if words & {"PCIE", "NVL"}:
        return None
    return next((gpu.peak for name, gpu in GPUS.items() if name in words), None)
