"""The lines of a plan: ways to train with what they take, which of them fit, and which to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dreamprm.training.plan.abstract_window import Footprint
from dreamprm.training.plan.alternatives import T_STEPS, WITHOUT_H, Way
from dreamprm.training.plan.tally import PARTS

MARGIN = 0.05
"""Share of the memory that is left to the allocator, the kernels' scratch space and the device's context."""

BALANCE = 100.0
"""Floating-point operations in the time of a byte, on GPUs of these years: it orders lines where no device
is timed."""


@dataclass(frozen=True)
class Room:
    """What the training would run on.

    Attributes:
        memory: bytes of each process.
        device: of this machine, whose speed is measured; None if the training would run elsewhere.
        gpu: whether it is a GPU.
    """

    memory: int
    device: torch.device | None
    gpu: bool

    @property
    def offloads(self) -> tuple[str, ...]:
        """Values of `offload` that put something away there; on a GPU, disk leaves on it what cpu does."""
        return ("cpu",) if self.gpu else ("disk",)

    @property
    def puts_away(self) -> tuple[str, ...]:
        """Values of `offload` that take something off that device."""
        return ("cpu", "disk") if self.gpu else ("disk",)

    def holds(self, size: int) -> bool:
        """Whether this many bytes fit."""
        return size <= (1 - MARGIN) * self.memory


@dataclass(frozen=True)
class Line:
    """A way with what it takes; `problem` says why it cannot be taken, where it cannot."""

    way: Way
    footprint: Footprint | None
    seconds: float | None = None
    problem: str = ""

    def fits(self, room: Room) -> bool:
        """Whether it can be taken there."""
        return self.footprint is not None and room.holds(self.footprint.total)


def recommended(lines: list[Line], room: Room) -> Line | None:
    """The line to take; None: none fits.

    Of those that fit, one with the configured estimator's gradient, or else one of the window's steps; the
    least work among these, the configured line before others that are equal.
    """
    first = lines[0]
    fitting = [line for line in lines if line.fits(room)]
    for kind in dict.fromkeys((first.way.gradient, T_STEPS, WITHOUT_H)):
        if kind == "none" and first.way.gradient != "none":
            continue
        of_kind = [line for line in fitting if line.way.gradient == kind]
        if of_kind:
            return min(of_kind, key=lambda line: (cost(line), line is not first))
    return None


def cost(line: Line) -> float:
    """What orders lines by the time they would take."""
    if line.seconds is not None:
        return line.seconds
    assert line.footprint is not None
    work = line.footprint.work
    return work.flops + BALANCE * work.traffic


def as_dict(line: Line, room: Room) -> dict[str, Any]:
    """The line as JSON values."""
    base = {"way": line.way.name, "changes": list(line.way.changes), "gradient": line.way.gradient}
    found = line.footprint
    if found is None:
        return {**base, "problem": line.problem}
    return {
        **base,
        "fits": line.fits(room),
        "parameters": round(found.parameters),
        "trained": round(found.trained),
        "peak": found.total,
        **{f"peak_{name}": round(getattr(found.peak, name)) for name in PARTS},
        "batches": found.batches,
        "put_away": round(found.put_away),
        "flops": found.work.flops,
        "seconds": line.seconds,
    }
