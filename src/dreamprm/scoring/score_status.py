"""How far the scoring of a file is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from dreamprm.runtime.progress import CountingDisplay, duration


class ScoreStatus(CountingDisplay):
    """Counts the scored chains of one file and shows the progress.

    Args:
        label: the file's name.
        total: number of chains in all.
        before: number of chains scored in an earlier run.
        mode, every, stream, clock: as in `CountingDisplay`.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        before: int = 0,
        mode: str = "auto",
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(mode, unit="cand", every=every, stream=stream, clock=clock)
        self._label, self._before = label, before
        self.scored = self.steps = 0
        self.begin(total, before=before, label=label)
        if self.mode == "lines" and before:
            self.say(f"{label}: resuming, {before:,} of {total:,} are already scored")

    def add(self, chains: int, steps: int) -> None:
        """Report that this many chains, with this many steps, have been scored and written."""
        self.scored += chains
        self.steps += steps
        self.advance(chains)

    def _line(self) -> list[str]:
        done = self._before + self.scored
        rate = f"{self.scored / self.seconds:.3g} a second" if self.scored and self.seconds > 0 else ""
        return [
            f"{self._label}: scored {done:,}/{self.total:,}",
            duration(self.seconds),
            rate,
            self._left(self.scored, self.total - done),
        ]
