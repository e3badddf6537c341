"""How far the scoring is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from dreamprm.config.choices import PROGRESS_MODES
from dreamprm.runtime.progress import duration, redraws


class ScoreStatus:
    """Counts the chains of one file and shows them.

    Args:
        label: the file's name.
        total: chains in all.
        before: those that were scored in an earlier run.
        mode: "bar", "lines", "none", or "auto": bar on a terminal, else lines.
        every: seconds between two lines.
        stream: where to write; standard error by default.
        clock: seconds, rising; for tests.
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
        assert mode in PROGRESS_MODES
        self._stream = sys.stderr if stream is None else stream
        self._mode = ("bar" if redraws(self._stream) else "lines") if mode == "auto" else mode
        self._label, self._total, self._before, self._every, self._clock = label, total, before, every, clock
        self._began = self._shown = clock()
        self.scored = self._told = 0
        self.steps = 0
        self._bar: tqdm | None = None
        if self._mode == "bar":
            self._bar = tqdm(
                total=total, initial=before, desc=label, unit="cand", file=self._stream, dynamic_ncols=True
            )
        elif self._mode == "lines" and before:
            self._write(f"{label}: going on, {before:,} of {total:,} are scored already")

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    def add(self, chains: int, steps: int) -> None:
        """So many chains with so many steps have been scored and written."""
        self.scored += chains
        self.steps += steps
        if self._bar is not None:
            self._bar.update(chains)
        elif self._mode == "lines" and self._clock() - self._shown >= self._every:
            self._shown = self._clock()
            self._write(self._line())

    def close(self) -> None:
        """Leave the last state on the terminal; closing twice is harmless."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._mode == "lines" and self.scored > self._told:
            self._write(self._line())
        self._mode = "none"

    def __enter__(self) -> ScoreStatus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def _line(self) -> str:
        self._told, done = self.scored, self._before + self.scored
        parts = [f"{self._label}: scored {done:,}/{self._total:,}", duration(self.seconds)]
        if self.scored and self.seconds > 0:
            rate = self.scored / self.seconds
            parts.append(f"{rate:.3g} a second")
            if done < self._total:
                parts.append(f"about {duration((self._total - done) / rate)} left")
        return "  ".join(parts)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
