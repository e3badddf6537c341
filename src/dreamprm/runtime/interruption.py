"""Ctrl-C and SIGTERM: SIGTERM raised as an exception like Ctrl-C, and either deferred to a safe moment.

A second SIGTERM ends the process at once, whatever it is doing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class DeferredInterrupt:
    """While active, the first Ctrl-C or SIGTERM is only recorded; a second one takes effect at once.

    A window updates parameters in place: interrupted halfway, it leaves a state that no checkpoint should
    hold. The loop checks `requested` after each window, saves, and calls `deliver`. A signal that the process
    was started to ignore stays ignored: `dreamprm train ... &` in a script survives a Ctrl-C meant for
    another job.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._number is not None

    def share(self, largest: Callable[[int], int]) -> None:
        """Take over a signal that another process of the same run has got.

        Args:
            largest: the largest of the numbers that all processes give.
        """
        agreed = largest(self._number or 0)
        self._number = agreed or None

    def deliver(self) -> None:
        """Let the signal take the effect it would have had without this object."""
        number, self._number = self._number, None
        self._restore()
        if number is not None:
            signal.raise_signal(number)

    def __enter__(self) -> DeferredInterrupt:
        # Signals can only be handled in the main thread; elsewhere nothing is deferred.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.deliver()  # a signal that came after the last window must not be lost
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self._number = self.requested, number
        if again:
            before = self._before.get(signal.SIGTERM)
            if number == signal.SIGTERM and isinstance(before, _RaiseOrEnd):
                before.again = True
            self.deliver()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where it arrived, so that a command saves its state as it does on Ctrl-C."""


class _RaiseOrEnd:
    """A handler of SIGTERM: the first raises `Terminated`, a further one ends the process."""

    def __init__(self, last: Callable[[], None]) -> None:
        self.again = False
        self._last = last

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.again:
            self.again = True
            raise Terminated
        # Not by an exception: what cleans up may wait for a batch that never ends. Files are safe, as they
        # are written whole or not at all; loader processes ignore SIGTERM, which the loop handles for them.
        try:
            self._last()
            sys.stdout.flush()
        finally:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)


@contextmanager
def sigterm_raises(last: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turn SIGTERM into `Terminated` inside the block, unless the process was started to ignore it.

    A second SIGTERM ends the process at once with code 143. Signals can only be handled in the main thread;
    elsewhere this does nothing.

    Args:
        last: what to do before a second SIGTERM ends the process.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return

    before = signal.signal(signal.SIGTERM, _RaiseOrEnd(last))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
