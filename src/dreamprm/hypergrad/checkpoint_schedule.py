"""Where to keep states on the way through a long window, so that going back repeats the fewest steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Schedule:
    """A window in segments of `length` steps, with at most `slots` states kept besides the first one."""

    steps: int
    length: int
    slots: int

    @property
    def segments(self) -> int:
        """Their number; the last one may be shorter."""
        return -(-self.steps // self.length)

    def bounds(self, segment: int) -> tuple[int, int]:
        """The first step of a segment, and the one after its last."""
        return segment * self.length, min((segment + 1) * self.length, self.steps)

    @property
    def gradients(self) -> int:
        """Inner gradients that the whole window takes: `steps` of a window that keeps everything."""
        return self.steps + self.length * repeats(self.segments, self.slots)

    def next_state(self, kept: int, end: int, *, used: int) -> int | None:
        """The segment at whose start a state is to be kept next, going from the one kept last towards `end`.

        None: go to segment end - 1 and back through it. `used` is the number of slots that hold a state.
        """
        if end - kept == 1 or used == self.slots:
            return None
        return kept + _best_split(end - kept, self.slots - used)


@cache
def repeats(segments: int, slots: int) -> int:
    """The fewest passes over a segment, other than the one that goes back through it, that reverse a chain of
    segments with the state before the first one kept, and `slots` more.

    r n - C(c + r, c + 1) with c = slots + 1 and the least r for which C(c + r, c) >= n.

    Source: Griewank and Walther, Algorithm 799: Revolve, ACM TOMS 26 (2000).
    """
    c, r = slots + 1, 0
    while math.comb(c + r, c) < segments:
        r += 1
    return r * segments - math.comb(c + r, c + 1)


def _best_split(segments: int, slots: int) -> int:
    return min(range(1, segments), key=lambda at: at + repeats(segments - at, slots - 1) + repeats(at, slots))


def best_schedule(steps: int, *, room: float, state: float, gradient: float, checkpoint: str) -> Schedule:
    """The schedule with the fewest gradients whose storage fits into `room`.

    A segment of s steps holds s gradients on the way back, and about log2 s states (or all s of them with
    checkpoint="keep"); each slot holds one state.

    Args:
        room, state, gradient: in the same unit.

    Raises:
        ValueError: not even one step at a time fits.
    """
    best: Schedule | None = None
    for length in range(1, steps + 1):
        held = length if checkpoint == "keep" else math.ceil(math.log2(length))
        left = room - length * gradient - held * state
        if left < 0:
            break
        slots = min(math.floor(left / state), -(-steps // length) - 1)
        found = Schedule(steps, length, slots)
        if best is None or found.gradients < best.gradients:
            best = found
    if best is None:
        raise ValueError(f"no room for one step: {room:g}")
    return best
