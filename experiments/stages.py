"""Commands that depend on each other, run two at a time, with one display of their progress.

A stage is a command. Its output goes to LOGS/NAME.log, and its progress is shown here, prefixed with its
name. A stage that succeeds leaves LOGS/NAME.done, which holds its command. It is skipped if its command has
not changed, its outputs exist and no stage before it has run again.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from warm_processes import WarmProcess

from dreamprm.files.atomic import write_atomically
from dreamprm.runtime.interruption import DeferredInterrupt
from dreamprm.runtime.progress import duration

ROOT = Path(__file__).resolve().parent.parent
TAIL = 12
"""Lines of a failed stage's log that are shown."""


@dataclass(frozen=True)
class Stage:
    """One command of a chain.

    Attributes:
        name: names its log, and prefixes its lines.
        words: the command as a user types it: `dreamprm ...`, or `python experiments/...`.
        after: names of the stages that it needs.
        outputs: files that exist after it has succeeded.
        prints: how its output is shown here: `hidden`, `marked` with its name like its progress, or `plain`
            if it is a result. The log has all of it.
    """

    name: str
    words: tuple[str, ...]
    after: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = ()
    prints: Literal["hidden", "marked", "plain"] = "hidden"

    def text(self) -> str:
        """The command line."""
        return shlex.join(self.words)

    def start(self) -> subprocess.Popen[str] | WarmProcess:
        """The running command, by this interpreter whatever PATH says."""
        if self.words[0] == "dreamprm":
            return WarmProcess(self.words, folder=str(ROOT))
        return subprocess.Popen(
            [sys.executable, *self.words[1:]],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C reaches this process, which then stops the other: it must not get the signal twice.
            start_new_session=True,
        )


class StageFailed(Exception):
    """A stage failed: its exit code, and the message to show."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Running:
    """A stage's process, whose lines are kept in its log and shown."""

    def __init__(self, stage: Stage, log: Path) -> None:
        self.stage, self._began = stage, time.monotonic()
        self._log, self._lock = log.open("a", encoding="utf-8"), threading.Lock()
        self.process = stage.start()
        # Results are printed to stdout, progress to stderr.
        assert self.process.stdout is not None and self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, stage.prints), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, "marked"), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], shown: str) -> None:
        mark = f"[{self.stage.name}] " if shown == "marked" else ""
        for line in stream:
            with self._lock:
                self._log.write(line)
                self._log.flush()
            if shown != "hidden":
                print(mark + line.rstrip("\n"), flush=True)

    def finish(self) -> str:
        """Wait for the end and the last lines; returns the time it took."""
        self.process.wait()
        for reader in self._readers:
            reader.join()
        self._log.close()
        return duration(time.monotonic() - self._began)


def run_stages(
    stages: Sequence[Stage], logs: Path, *, at_once: int = 2, tick: Callable[[], None] = lambda: None
) -> None:
    """Run all stages in order, each after the stages it needs, with at most `at_once` at the same time.

    Args:
        tick: called before a stage begins, and at the end.

    Raises:
        StageFailed: a stage failed; the others were stopped.
        KeyboardInterrupt: after all were stopped; they save their progress.
    """
    logs.mkdir(parents=True, exist_ok=True)
    ended: set[str] = set()
    skipped: set[str] = set()
    waiting, running = list(stages), list[_Running]()
    # Signals are handled between two polls of the processes, so that none is left running.
    with DeferredInterrupt() as interrupt:
        try:
            while (waiting or running) and not interrupt.requested:
                for stage in [one for one in waiting if set(one.after) <= ended]:
                    if set(stage.after) <= skipped and _is_done(stage, logs):
                        print(f"[{stage.name}] is done already", flush=True)
                        waiting.remove(stage)
                        ended.add(stage.name)
                        skipped.add(stage.name)
                    elif len(running) < at_once:
                        tick()
                        print(f"$ {stage.text()}", flush=True)
                        (logs / f"{stage.name}.done").unlink(missing_ok=True)
                        waiting.remove(stage)
                        running.append(_Running(stage, logs / f"{stage.name}.log"))
                over = [one for one in running if one.process.poll() is not None]
                for one in over:
                    took = one.finish()
                    running.remove(one)
                    _require_success(one, logs)
                    print(f"[{one.stage.name}] done in {took}", flush=True)
                    write_atomically(logs / f"{one.stage.name}.done", json.dumps(one.stage.words) + "\n")
                    ended.add(one.stage.name)
                if running and not over:
                    time.sleep(0.05)
        finally:
            _stop(running)
            tick()


def _is_done(stage: Stage, logs: Path) -> bool:
    mark = logs / f"{stage.name}.done"
    if not mark.is_file() or not all(path.exists() for path in stage.outputs):
        return False
    return bool(json.loads(mark.read_text(encoding="utf-8")) == list(stage.words))


def _require_success(one: _Running, logs: Path) -> None:
    code = one.process.returncode
    if code == 0:
        return
    assert code is not None
    log = logs / f"{one.stage.name}.log"
    tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-TAIL:])
    how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
    raise StageFailed(
        f"{one.stage.name} ended with {how}; the last lines of {log}:\n{tail}",
        code if code > 0 else 128 - code,
    )


def _stop(running: Sequence[_Running]) -> None:
    """Let running stages save and end: SIGTERM has the same effect on a command as Ctrl-C."""
    for one in running:
        if one.process.poll() is None:
            one.process.terminate()
    for one in running:
        one.finish()
