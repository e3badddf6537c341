"""Ctrl-C and SIGTERM: SIGTERM raised as an exception like Ctrl-C, and either deferred to a safe moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
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
            self.deliver()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where it arrived, so that a command saves its state as it does on Ctrl-C."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into `Terminated` inside the block, unless the process was started to ignore it.

    Signals can only be handled in the main thread; elsewhere this does nothing.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
