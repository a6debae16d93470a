"""What GPUs can do at best, as their makers state it, and what share of that a training step is assumed to reach."""

import re
from dataclasses import dataclass

from lumosx.errors import InputError


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    `efficiency` is an assumption, not a measurement of this project: the share of `peak` at which a step's arithmetic
    runs, recomputed activations included, once it is bound by matrix products and attention.
    """

    name: str
    peak: float  # bf16 FLOP/s, dense, accumulated in float32
    peak_fp32: float  # FLOP/s in float32 proper, which PyTorch computes products in by default
    memory: int  # bytes, as nvidia-smi reports them
    source: str
    efficiency: float
    basis: str  # of the assumption


_MIB = 2**20
_HOPPER = (
    "kernel times published for cuDNN attention and large matrix products on an H100, put together for this network: "
    "38 % MFU with full checkpointing, 44 % with selective"
)

GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 312e12, 19.5e12, 81920 * _MIB, "NVIDIA A100 80GB data sheet, SXM", 0.55,
            "57 % MFU published for a language model with selective checkpointing (torchtitan)"),
        Gpu("H20", 148e12, 44e12, 97871 * _MIB, "NVIDIA H20 data sheet, 96 GB", 0.75,
            "79 % of the peak published for attention of this network in sampling, 89 % at best"),
        Gpu("H100", 989e12, 67e12, 81559 * _MIB, "NVIDIA H100 data sheet, SXM, 80 GB", 0.54, _HOPPER),
        Gpu("H200", 989e12, 67e12, 143771 * _MIB, "NVIDIA H200 data sheet, SXM", 0.54, _HOPPER),
        Gpu("4090", 165.2e12, 82.6e12, 24564 * _MIB, "NVIDIA Ada architecture white paper, RTX 4090", 0.55,
            "as for the A100, whose kernels it runs; not measured"),
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


def peak_flops(device_name: str) -> float | None:
    """The dense bf16 peak of a device by the name that CUDA gives it ("NVIDIA H100 80GB HBM3"); None if not known.

    PCIe and NVL cards have the chip's name but not its rate, so they are not known.
    """
    words = set(re.split(r"[^A-Za-z0-9]+", device_name.upper()))
    if words & {"PCIE", "NVL"}:
        return None
    return next((gpu.peak for name, gpu in GPUS.items() if name in words), None)
