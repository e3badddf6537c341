"""The journal of a run: every rollout that was paid for, a line each, written as soon as it is there."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

from filelock import FileLock, Timeout

from dreamprm.answers.base import Verdict
from dreamprm.errors import DataError, UserError

VERDICTS = ("right", "wrong", "undecided")


class Key(NamedTuple):
    """Which rollout: of which question, chain of thought (CoT), step and number.

    Step 0 is the question itself: its rollout 0 is the CoT. Steps 1, 2, ... are the prefixes that end there.
    """

    question: str
    cot: int
    step: int
    rollout: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion, judged.

    Attributes:
        key: where it belongs.
        input: digest of the prompt and prefix that it continues.
        text: the completion, without its prefix; of steps >= 1 it is on file only, "" once it is read back.
        tokens: its length in the generator's tokens.
        finished: False where it was cut off.
        verdict: of the whole response, prefix and completion.
        answer: what was read as its answer.
        reason: why it was judged so.
    """

    key: Key
    input: str
    text: str
    tokens: int
    finished: bool
    verdict: Verdict
    answer: str | None
    reason: str


class Journal:
    """Rollouts by key, kept in a JSON Lines file that survives being killed at any moment.

    A line is written and handed to the system at once. A line that was cut short by a kill is dropped when
    the file is opened again, so that its rollout is sampled anew: none is lost, none counted twice. The file
    is held by one process at a time.

    Args:
        path: the file; it and its folder are made where they are missing. `path.lock` stands beside it.

    Raises:
        UserError: another process holds it.
        DataError: a line that this program cannot have written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mutex = threading.Lock()
        # The system lets go of the lock when its process dies, however it dies.
        self._lock = FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{self.path} is being written by another process; wait for it, or give another output "
                "(or another shard)") from None
        try:
            self._rollouts = self._read()
            self._file = self.path.open("a", encoding="utf-8")
        except BaseException:
            self._lock.release()
            raise

    def find(self, key: Key, input: str) -> Rollout | None:
        """The rollout of this key, or None where it is not there yet.

        Raises:
            UserError: there is one, of another prompt or prefix.
        """
        with self._mutex:
            found = self._rollouts.get(key)
        if found is not None and found.input != input:
            raise UserError(
                f"{self.path} holds a rollout of question {key.question}, CoT {key.cot}, step {key.step} "
                "that continues another text: the question or the CoT has changed since; give another "
                "output, or remove this one")
        return found

    def append(self, rollouts: Sequence[Rollout]) -> None:
        """Write rollouts, a line each; from any thread."""
        with self._mutex:
            for rollout in rollouts:
                if rollout.key in self._rollouts:
                    raise AssertionError(f"rollout {rollout.key} was sampled twice")
                self._file.write(json.dumps(_row(rollout), ensure_ascii=False) + "\n")
                self._file.flush()
                self._rollouts[rollout.key] = _kept(rollout)

    def __len__(self) -> int:
        return len(self._rollouts)

    def __iter__(self) -> Iterator[Rollout]:
        return iter(list(self._rollouts.values()))

    def close(self) -> None:
        """Close the file and let go of it; closing twice is harmless."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def _read(self) -> dict[Key, Rollout]:
        rollouts: dict[Key, Rollout] = {}
        if not self.path.exists():
            return rollouts
        whole = 0  # bytes of complete lines
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                rollout = self._parse(line, number)
                if rollout.key in rollouts:
                    raise DataError(f"{self.path}:{number}: rollout {tuple(rollout.key)} stands there twice; "
                                    "remove one of the lines")
                rollouts[rollout.key] = rollout
                whole += len(line)
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)
        return rollouts

    def _parse(self, line: bytes, number: int) -> Rollout:
        try:
            row = json.loads(line)
            key = Key(row["question"], row["cot"], row["step"], row["rollout"])
            rollout = Rollout(key, **{name: value for name, value in row.items() if name not in Key._fields})
            if rollout.verdict not in VERDICTS:
                raise ValueError(f"verdict {rollout.verdict!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}:{number}: not a line of a journal ({error}); restore the file, or give another "
                "output") from error
        return _kept(rollout)


def _kept(rollout: Rollout) -> Rollout:
    """As it is kept in memory: only a CoT's text is read again."""
    return rollout if rollout.key.step == 0 else replace(rollout, text="")


def _row(rollout: Rollout) -> dict[str, Any]:
    row = asdict(rollout)
    row.pop("key")
    return cast(dict[str, Any], {**rollout.key._asdict(), **row})
