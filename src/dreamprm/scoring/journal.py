"""The journal of a scored file: each row's log-odds as soon as they are known, in whatever order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from dreamprm.errors import DataError, UserError

FORMAT = 1

LogOdds = Sequence[list[float] | None]


class Entry(NamedTuple):
    """What is known of a row: its chains' log-odds (None: a chain without scores), or why it is left out."""

    log_odds: list[list[float] | None]
    left_out: str | None


class ScoreJournal:
    """Scores by number of the row, kept in a JSON Lines file that survives being killed at any moment.

    The first line tells what the scores were made by; each other one holds a row's. A line that was cut short
    by a kill is dropped when the file is opened again, so that its row is scored anew; so are rows that were
    left out. Of the rows only their places in the file are held in memory. The file is held by one process at
    a time.

    Args:
        path: the file; it and its folder are made where they are missing. `path.lock` stands beside it.
        identity: JSON values that decide the scores: model, precision, how rows are read.

    Raises:
        UserError: another process holds it, it holds scores of another identity, or nobody may write there.
        DataError: a line that this program cannot have written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._rows: dict[int, tuple[int, str]] = {}  # number -> (place in the file, digest)
        # The system lets go of the lock when its process dies, however it dies.
        self._lock = FileLock(f"{path}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._file = path.open("a+b", buffering=0)
        except Timeout:
            raise UserError(f"{path} is being written by another process; wait for it, or give another "
                            "output") from None
        except OSError as error:
            self._lock.release()
            raise UserError(f"{path} cannot be opened for writing ({error}); give another output") from error
        try:
            self._end = self._read(identity)
            if not self._end:
                self._append({"format": FORMAT, "made_by": dict(identity)})
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, number: int, digest: str) -> bool:
        """Whether the row has been scored, or left out by this process.

        Raises:
            UserError: another row has, under this number: the input is not the one that it was.
        """
        known = self._rows.get(number)
        if known is not None and known[1] != digest:
            raise UserError(
                f"{self.path} holds scores of another record {number} (counted from 0): the input has "
                "changed since; give another output, or remove this file to score everything again")
        return known is not None

    def append(self, number: int, digest: str, log_odds: LogOdds, left_out: str | None = None) -> None:
        """Write a row's log-odds, or why it is left out.

        Raises:
            UserError: the system cannot write, as where the disk is full.
        """
        assert number not in self._rows, f"row {number} was scored twice"
        fields = {"log_odds": list(log_odds)} if left_out is None else {"left_out": left_out}
        place = self._end
        self._append({"row": number, "digest": digest, **fields})
        self._rows[number] = (place, digest)

    def read(self, number: int) -> Entry:
        """What was written of a row."""
        place, _ = self._rows[number]
        with self.path.open("rb") as file:
            file.seek(place)
            row = json.loads(file.readline())
        return Entry(row.get("log_odds", []), row.get("left_out"))

    def close(self) -> None:
        """Close the file and let go of it; closing twice is harmless."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> ScoreJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def _append(self, row: Mapping[str, Any]) -> None:
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        rest = line
        try:
            while rest:
                rest = rest[self._file.write(rest):]
        except OSError as error:
            # What may be there of the line would run into the next one; opening the file again drops it.
            self._file.close()
            raise UserError(f"{self.path} cannot be written ({error}); all before is kept: make room, then "
                            "start the same command again") from error
        self._end += len(line)

    def _read(self, identity: Mapping[str, Any]) -> int:
        """Take in what is there; returns the bytes of complete lines, beyond which nothing is left."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    if whole:
                        known = int(row["row"]), (whole, str(row["digest"]))
                        assert "log_odds" in row or "left_out" in row
                        # What was left out is tried again: an image may have come or been mended meanwhile.
                        if "log_odds" in row:
                            self._rows[known[0]] = known[1]
                    else:
                        self._check_identity(row["made_by"], identity)
                except (ValueError, KeyError, TypeError, AssertionError) as error:
                    if isinstance(error, UserError):
                        raise
                    raise DataError(f"{self.path}:{number}: not a line of a journal of scores ({error!r}); "
                                    "restore the file, or give another output") from error
                whole += len(line)
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)
        return whole

    def _check_identity(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        changed = [f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
                   for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        if changed:
            raise UserError(f"{self.path} holds scores made otherwise ({'; '.join(changed)}); give another "
                            "output, or remove this file to score everything again")
