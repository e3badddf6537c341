"""What lives on a device and what is computed there, added up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PARTS = ("parameters", "moments", "copies", "activations")


@dataclass(frozen=True)
class Counts:
    """What lives on a device, in bytes, at one moment."""

    parameters: float = 0
    """Tensors of the model."""
    moments: float = 0
    """The inner optimizer's."""
    copies: float = 0
    """Further tensors of the shapes of trained parameters: gradients, kept or on their way, cotangents, the
    window's first state."""
    activations: float = 0
    """All else: mainly what backward passes need."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.parameters + self.moments + self.copies + self.activations

    def plus(self, other: Counts, times: float = 1.0) -> Counts:
        """The sum with a multiple of another."""
        return Counts(*(getattr(self, part) + times * getattr(other, part) for part in PARTS))


@dataclass(frozen=True)
class Work:
    """What the operations of a piece of code did."""

    flops: float = 0.0
    """Floating-point operations of matrix products and attention."""
    traffic: float = 0.0
    """Bytes read and written by all other operations."""
    operations: float = 0.0

    def plus(self, other: Work, times: float = 1.0) -> Work:
        """The sum with a multiple of another."""
        return Work(
            self.flops + times * other.flops,
            self.traffic + times * other.traffic,
            self.operations + times * other.operations,
        )


class Tally:
    """Bytes that live now, and those that lived at the peaks of each stretch of code.

    A stretch has three: where most lives in all, and where the most copies and the most activations do. In a
    backward pass the first becomes either of the others as a model gets deeper.
    """

    def __init__(self) -> None:
        self._now = dict.fromkeys(PARTS, 0)
        self._total = 0
        self._peaks: dict[str, tuple[tuple[int, int], Counts]] = {}
        self.peaks: list[Counts] = []
        """Of the stretches before this one."""
        self._away = self.most_away = 0
        self.flops = self.traffic = 0.0
        self.operations = 0
        self._restart()

    @property
    def now(self) -> Counts:
        """What lives."""
        return Counts(**self._now)

    @property
    def peak(self) -> Counts:
        """Where most has lived in this stretch."""
        return self._peaks["total"][1]

    @property
    def work(self) -> Work:
        """What was done so far."""
        return Work(self.flops, self.traffic, self.operations)

    @contextmanager
    def memory_alone(self) -> Iterator[None]:
        """In the block, what lives is counted, but not what is done."""
        before = (self.flops, self.traffic, self.operations)
        try:
            yield
        finally:
            self.flops, self.traffic, self.operations = before

    def add(self, kind: str, size: int) -> None:
        """Count bytes as alive (negative: as freed)."""
        now = self._now
        now[kind] += size
        self._total += size
        if size <= 0:
            return
        snapshot = None
        for what, (most, _) in self._peaks.items():
            here = (self._total if what == "total" else now[what], self._total)
            if here > most:
                snapshot = snapshot or self.now
                self._peaks[what] = (here, snapshot)

    def begin(self) -> None:
        """Forget all peaks: the first stretch begins with what lives now."""
        self.peaks, self.most_away = [], self._away
        self._restart()

    def next(self) -> None:
        """End a stretch, whose peaks are kept; the following one begins with what lives now."""
        self.peaks += [counts for _, counts in self._peaks.values()]
        self._restart()

    def _restart(self) -> None:
        now = self.now
        self._peaks = {
            what: ((self._total if what == "total" else self._now[what], self._total), now)
            for what in ("total", "copies", "activations")
        }

    def put_away(self, size: int) -> None:
        """Count bytes in CPU memory or on disk (negative: as back, or dropped)."""
        self._away += size
        self.most_away = max(self.most_away, self._away)
