"""Commands of `dreamprm` in processes that may be killed at any instant, forked from one with all imports.

A new process takes each command ten seconds of a core for imports alone; a forked one starts at once, and is
as dead after SIGKILL. Whoever forks must run no threads and have used no GPU: see `in_a_child`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

# What the commands import, and nothing that starts a thread. The order is that of their use.
PRELOAD = (
    "dreamprm.training.train",
    "dreamprm.scoring.score",
    "dreamprm.labelling.commands",
    "dreamprm.evaluation.evaluate",
    "dreamprm.evaluation.plots.best_of_n",
    "dreamprm.reporting",
    "openai",
)


def preload() -> None:
    """Import what the commands need, so that processes forked from this one need not."""
    for name in PRELOAD:
        importlib.import_module(name)


class Forked:
    """A function in a forked process of its own session; what it prints goes to a file.

    Args:
        work: returns the exit code.
        printed: the file for standard output and error.
        shown: it prints where this process does instead.
    """

    def __init__(self, work: Callable[[], int], printed: Path, *, shown: bool = False) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.printed = printed
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work, shown)

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, longest: float = 600.0) -> int:
        """Wait for its end; returns its exit code, or minus the signal that ended it.

        Raises:
            RuntimeError: it was still running after `longest` seconds, and was killed.
        """
        end = time.monotonic() + longest
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise RuntimeError(f"still running after {longest:g} s: {self.text()[-2000:]}")
            time.sleep(0.002)
        return status

    def kill(self) -> bool:
        """Send SIGKILL and wait; returns whether it was this that ended the process."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            return self.wait() == -signal.SIGKILL
        return False

    def text(self) -> str:
        """What it has printed."""
        return self.printed.read_text(errors="replace")

    def _run(self, work: Callable[[], int], shown: bool) -> None:
        code = 1
        try:
            os.setsid()
            if not shown:
                file = os.open(self.printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                null = os.open(os.devnull, os.O_RDONLY)
                for descriptor, end in ((null, 0), (file, 1), (file, 2)):
                    os.dup2(descriptor, end)
                # In place of a terminal's or a test's objects: the command writes to the file, line by line.
                sys.stdout, sys.stderr = (os.fdopen(end, "w", buffering=1, closefd=False) for end in (1, 2))
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # nothing that the other process has registered for its own end


def command(words: Sequence[str], printed: Path, *, before: Callable[[], None] = lambda: None) -> Forked:
    """`dreamprm WORDS`, started.

    Args:
        before: called first in the command's process.
    """

    def work() -> int:
        from dreamprm.cli import main

        before()
        return main(list(words))

    return Forked(work, printed)


def in_a_child(work: Callable[[], None], printed: Path) -> None:
    """Run a function in a forked process, so that this one stays as it is, and wait.

    Raises:
        RuntimeError: it failed; with what it printed.
    """

    def counted() -> int:
        work()
        return 0

    process = Forked(counted, printed)
    if process.wait():
        raise RuntimeError(process.text())
