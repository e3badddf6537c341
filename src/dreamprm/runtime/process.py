"""What a command sets for its process before it starts, and its signals between two windows."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
import transformers


def prepare_process(threads: int | None) -> None:
    """Set the number of CPU threads, flush denormal numbers to zero, and quiet the libraries' own bars.

    Args:
        threads: torch's threads; None leaves torch's own choice.
    """
    # Second moments of tiny gradients become denormal and slow a CPU several-fold; as zeros they change
    # nothing.
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()


class DeferredInterrupt:
    """While active, the first Ctrl-C or SIGTERM is only remembered; a second one acts at once.

    A window updates parameters in place: torn apart, it leaves a state that no checkpoint should hold. The
    loop asks `requested` after each window, saves, and calls `deliver`. A signal that the process was started
    to ignore stays ignored: `dreamprm train ... &` in a script outlives a Ctrl-C meant for another job.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._number is not None

    def deliver(self) -> None:
        """Let the signal act as it would have without this object."""
        number, self._number = self._number, None
        self._restore()
        if number is not None:
            signal.raise_signal(number)

    def __enter__(self) -> DeferredInterrupt:
        # Signals can be handled in the main thread only; elsewhere nothing is deferred.
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
