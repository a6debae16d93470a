"""Randomness keyed by what it is for, never by rank, worker or position in a queue.

So that a run is the same run however it is spread or interrupted, every draw comes from a generator of (seed, sample,
purpose).
"""

import hashlib

import torch


def keyed_generator(seed: int, sample: int | str, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of one sample; sample 7 and sample "7" are one."""
    digest = hashlib.sha256(f"{seed}/{sample}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def keyed_chance(seed: int, sample: int | str, purpose: str, probability: float) -> bool:
    """True with `probability`, always the same for the same key."""
    return bool(torch.rand((), generator=keyed_generator(seed, sample, purpose)) < probability)
