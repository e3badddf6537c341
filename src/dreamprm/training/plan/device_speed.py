"""How fast this machine's device is, by a short probe, and how long counted work would take on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dreamprm.training.plan.tally import Work

SECONDS = 0.4
"""What each of the three measurements takes, at least."""
ENTRIES = 1 << 22
"""Of the tensors whose sum is timed: more than a cache holds."""


@dataclass(frozen=True)
class Speed:
    """What a device does in a second."""

    flops: float
    """Floating-point operations of matrix products of the model's sizes."""
    traffic: float
    """Bytes of elementwise operations."""
    operations: float
    """Operations on tensors of a few entries: what the rest costs each of them."""

    def seconds(self, work: Work) -> float:
        """Of this work, one operation after another."""
        return work.flops / self.flops + work.traffic / self.traffic + work.operations / self.operations


def measure_speed(device: torch.device, *, width: int, tokens: int, dtype: torch.dtype) -> Speed:
    """Time a layer's product of this width and number of tokens with its two backward products, the sum of
    two long tensors, and small operations with their backward passes.

    Args:
        dtype: of the products, as the model's passes have it.
    """
    weight = torch.randn(width, 4 * width, device=device, dtype=dtype)
    rows = torch.randn(min(tokens, 4096), width, device=device, dtype=dtype)
    out = torch.randn(rows.shape[0], 4 * width, device=device, dtype=dtype)
    long = [torch.ones(ENTRIES, device=device) for _ in range(3)]
    few = torch.ones(8, device=device, requires_grad=True)

    def products() -> None:
        rows @ weight
        out @ weight.t()
        rows.t() @ out

    def sums() -> None:
        torch.add(long[0], long[1], out=long[2])

    def small() -> None:
        value = few
        for _ in range(10):
            value = value * few
        torch.autograd.grad(value.sum(), few)

    return Speed(
        flops=3 * 2 * rows.numel() * 4 * width / _seconds(products, device),
        traffic=3 * ENTRIES * 4 / _seconds(sums, device),
        operations=30 / _seconds(small, device),
    )


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """Of one call, in the mean over some, after a first one that does not count."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    work()
    started, calls = now(), 0
    while True:
        work()
        calls += 1
        spent = now() - started
        if spent > SECONDS:
            return spent / calls
