"""Commands of `dreamprm` in processes that begin with torch and the model library imported.

Importing them takes each command some five seconds of a core, as long as a short command works. Here one
process imports them, and every command is forked from it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import IO

from dreamprm.runtime.worker_processes import STOPPING, worker_context

# Everything that the commands of a chain import, and nothing that starts a thread.
_PRELOAD = ("dreamprm.training.train", "dreamprm.scoring.score")


class WarmProcess:
    """A command whose output is read as that of a `subprocess.Popen` with pipes and a session of its own.

    Args:
        words: `dreamprm`, and its arguments.
        folder: the working directory.
    """

    def __init__(self, words: Sequence[str], *, folder: str) -> None:
        context = worker_context(_PRELOAD)
        (out, its_out), (error, its_error) = (context.Pipe(duplex=False) for _ in range(2))
        self._process = context.Process(target=_run, args=(tuple(words), folder, its_out, its_error))  # type: ignore[attr-defined]
        self._process.start()
        for end in (its_out, its_error):
            end.close()
        self.stdout, self.stderr = _text(out), _text(error)

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end; returns its exit code."""
        self._process.join()
        return self._process.exitcode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()


def _text(end: Connection) -> IO[str]:
    stream = os.fdopen(os.dup(end.fileno()), "r", encoding="utf-8", errors="replace")
    end.close()
    return stream


def _run(words: Sequence[str], folder: str, out: Connection, error: Connection) -> None:
    # Ctrl-C reaches the chain, which then stops its commands: they must not get the signal twice.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    os.chdir(folder)
    for end, descriptor in ((out, 1), (error, 2)):
        os.dup2(end.fileno(), descriptor)
        end.close()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = list(words)

    from dreamprm.cli import main

    sys.exit(main())
