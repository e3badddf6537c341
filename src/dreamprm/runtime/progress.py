"""The one progress display: a bar on a terminal, plain lines elsewhere, messages that do not break the bar.

`Display` handles the stream; `CountingDisplay` counts towards a total (label, score and the judge each define
the content of their line); `Progress` shows a training run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from dreamprm.config.choices import PROGRESS_MODES

_REFRESH_SECONDS = 0.1
_SHOWN = 3  # weights shown at either end


class Display:
    """What a person watches. Use it as a context manager: it restores the terminal even after an error.

    Attributes:
        mode: "bar", "lines" or "none".

    Args:
        mode: "bar" (redrawn), "lines", "none", or "auto": a bar if the stream is a terminal that knows its
            size, else lines.
        stream: where to write; standard error by default.
        clock: returns increasing seconds; for tests.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(
        self,
        mode: str = "auto",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if mode not in PROGRESS_MODES:
            raise ValueError(f"mode must be one of {', '.join(PROGRESS_MODES)}, got {mode!r}")
        self._stream = sys.stderr if stream is None else stream
        if mode == "auto":
            mode = "bar" if redraws(self._stream) else "lines"
        self.mode = mode
        self._clock = clock
        self._began = clock()
        self._mutex = threading.RLock()
        self._bars: tuple[tqdm, ...] = ()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    def say(self, message: str) -> None:
        """Print a message without breaking the bar; prints nothing in mode "none". Thread-safe."""
        with self._mutex:
            if self._bars:
                tqdm.write(message, file=self._stream)
            elif self.mode == "lines":
                self._stream.write(message + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Leave the last state on the terminal and release its lines; closing twice is harmless."""
        with self._mutex:
            for bar in self._bars:
                bar.refresh()
            for bar in self._bars:
                bar.close()
            self._bars = ()
            self.mode = "none"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self.close()


class CountingDisplay(Display):
    """Counts towards a total: one bar, or one line every `every` seconds and one at the end.

    A subclass defines what its line shows (`_line`) and what is next to the bar (`_counts`).

    Args:
        mode, stream, clock: as for `Display`.
        unit: what is counted, in the singular, for the bar.
        every: seconds between two lines.
    """

    def __init__(
        self,
        mode: str = "auto",
        *,
        unit: str,
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(mode, stream=stream, clock=clock)
        self._unit, self.every = unit, every
        self._shown = self._began
        self._news = False  # since the last line
        self.total = 0

    def begin(self, total: int, *, before: int = 0, label: str | None = None) -> None:
        """Start the clock: `total` items are to be done, `before` of them already done in an earlier run."""
        self.total = total
        self._began = self._shown = self._clock()
        if self.mode == "bar":
            # Without miniters=0 it would not redraw until the first item is done.
            bar = tqdm(
                total=total,
                initial=before,
                desc=label,
                unit=self._unit,
                file=self._stream,
                dynamic_ncols=True,
                miniters=0,
            )
            self._bars = (bar,)

    def advance(self, count: int = 0) -> None:
        """`count` more items are done; with 0, only the content of the line has changed."""
        with self._mutex:
            self._news = True
            if self._bars:
                self._bars[0].set_postfix_str(self._counts(), refresh=False)
                self._bars[0].update(count)
            elif self.mode == "lines" and self._clock() - self._shown >= self.every:
                self._shown = self._clock()
                self._tell()

    def close(self) -> None:
        """See `Display.close`; in mode "lines", a last line shows how far it got."""
        with self._mutex:
            if self.mode == "lines" and self._news:
                self._tell()
            super().close()

    def _tell(self) -> None:
        self._news = False
        self.say("  ".join(part for part in self._line() if part))

    def _line(self) -> list[str]:
        """The parts of a line; empty parts are left out."""
        raise NotImplementedError

    def _counts(self) -> str:
        """What is shown next to the bar."""
        return ""

    def _left(self, drew: int, waiting: int) -> str:
        """The time `waiting` more items take if `drew` items took the time so far; "" if unknown."""
        if not drew or not waiting:
            return ""
        return f"about {duration(self.seconds / drew * waiting)} left"


class Progress(Display):
    """A training run: shows step, inner loss, meta loss, and the highest and lowest domain weights.

    `with Progress(1800) as progress: progress.update(5, inner_loss=..., meta_loss=..., weights={...})`.

    Args:
        total_steps: inner steps of the whole run, >= 1.
        mode: "bar" (three lines, redrawn), "lines" (one line every `every` updates), "none", or "auto": a bar
            if the stream is a terminal that knows its size, else lines.
        every: updates (windows) per line; the first and the last step always get a line.
        start: steps already done when this run resumes; they count as done but not towards the rate.
        stream: where to write; standard error by default.
        clock: returns increasing seconds; for tests.

    Raises:
        ValueError: an unknown mode, total_steps or every below 1, or a start outside 0..total_steps.
    """

    def __init__(
        self,
        total_steps: int,
        mode: str = "auto",
        *,
        every: int = 20,
        start: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if total_steps < 1 or every < 1:
            raise ValueError(f"total_steps and every must be >= 1, got {total_steps} and {every}")
        if not 0 <= start <= total_steps:
            raise ValueError(f"start must be between 0 and total_steps ({total_steps}), got {start}")
        super().__init__(mode, stream=stream, clock=clock)
        self._total, self._every, self._start = total_steps, every, start
        self._drawn = self._began
        self._updates = 0
        if self.mode == "bar":
            self._bars = (
                tqdm(total=total_steps, initial=start, file=self._stream, unit="step", dynamic_ncols=True),
                tqdm(total=0, file=self._stream, bar_format="{desc}", position=1, dynamic_ncols=True),
                tqdm(total=0, file=self._stream, bar_format="{desc}", position=2, dynamic_ncols=True),
            )

    def update(
        self,
        step: int,
        *,
        inner_loss: float,
        meta_loss: float | None = None,
        weights: Mapping[str, float] | None = None,
        note: str = "",
    ) -> None:
        """Show the state after `step` inner steps.

        Args:
            step: total inner steps done.
            inner_loss: mean over the window; NaN is shown as such.
            meta_loss: None if there is no upper level.
            weights: by domain; None or empty shows none.
            note: shown after the losses.
        """
        self._updates += 1
        losses = f"inner {inner_loss:.4f}" + ("" if meta_loss is None else f"  meta {meta_loss:.4f}")
        losses += f"  {note}" if note else ""
        if self._bars:
            self._redraw(step, losses=losses, weights=weights or {})
        elif self.mode == "lines":
            first_or_last = self._updates == 1 or step >= self._total
            if first_or_last or self._updates % self._every == 0:
                place = f"step {step:>{len(str(self._total))}}/{self._total}"
                parts = (place, losses, self._pace(step), *_extremes(weights or {}))
                self.say("  ".join(part for part in parts if part))

    def _redraw(
        self,
        step: int,
        *,
        losses: str,
        weights: Mapping[str, float],
    ) -> None:
        steps, *ends = self._bars
        steps.set_postfix_str(losses, refresh=False)
        for bar, text in zip(ends, _extremes(weights)):
            bar.set_description_str(text, refresh=False)
        steps.update(step - steps.n)
        # A small model does hundreds of windows per second; drawing each one would be wasteful.
        if self._clock() - self._drawn >= _REFRESH_SECONDS or step >= self._total:
            for bar in self._bars:
                bar.refresh()
            self._drawn = self._clock()

    def _pace(self, step: int) -> str:
        seconds, done = self.seconds, step - self._start
        if seconds <= 0 or done <= 0:
            return "rate unknown"
        rate = done / seconds
        return f"{rate:.3g} steps/s  {duration((self._total - step) / rate)} left"


def say_beside_bars(message: str) -> None:
    """Print a line to standard error without breaking a bar that other code shows there."""
    tqdm.write(message, file=sys.stderr)


def duration(seconds: float) -> str:
    """Seconds as m:ss, or as h:mm:ss from one hour. Example: 75 -> "1:15"."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def redraws(stream: TextIO) -> bool:
    """Whether a bar can be drawn: a terminal that has no size (in some containers) would show empty lines."""
    if not stream.isatty():
        return False
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:  # not a real terminal, as it has no file descriptor: tqdm assumes 80 columns
        return True


def _extremes(weights: Mapping[str, float]) -> tuple[str, str]:
    """The highest and the lowest weights by name; all in the first text if the two would overlap."""
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {value:.2f}" for name, value in ordered]
    if not shown:
        return "", ""
    if len(shown) <= 2 * _SHOWN:
        return "weights " + ", ".join(shown), ""
    return "top " + ", ".join(shown[:_SHOWN]), "bottom " + ", ".join(shown[-_SHOWN:])
