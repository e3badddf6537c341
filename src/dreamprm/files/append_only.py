"""JSON Lines that a long command resumes from: appended to, held by one process, whole after any kill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from io import RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from dreamprm.config.errors import DataError, UserError


class Line(NamedTuple):
    """A complete line of the file: its number from 1, the byte it begins at, its bytes."""

    number: int
    place: int
    content: bytes


class AppendOnlyFile:
    """A JSON Lines file of which each line is handed to the system as it is written.

    A line that was cut short, by a kill or a full disk, is dropped when the file is opened again and read.
    Writing from several threads is the subclass's to order.

    Args:
        path: the file; it and its folder are made where they are missing. `path.lock` stands beside it.

    Raises:
        UserError: another process holds it, or the system lets nobody write there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._failure: str | None = None
        # The system lets go of the lock when its process dies, however it dies.
        self._lock = FileLock(f"{self.path}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            # Without a buffer: a line that cannot be written leaves nothing behind for the next one.
            self._file = self.path.open("ab", buffering=0)
        except Timeout:
            raise UserError(
                f"{self.path} is being written by another process; wait for it, or give another output"
            ) from None
        except OSError as error:
            self._lock.release()
            raise UserError(
                f"{self.path} cannot be opened for writing ({error}); give another output"
            ) from error

    def close(self) -> None:
        """Close the file and let go of it; closing twice is harmless."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def _read(self, take: Callable[[Line, Any], None], *, what: str, advice: str) -> None:
        """Hand every complete line and the JSON value it holds to `take`, in order; for the constructor.

        Args:
            take: raises ValueError, KeyError or TypeError where this program cannot have written the line, or
                a UserError of its own. The file is closed then.
            what: of what the file is a journal, for messages; `advice`: what to do about a line that is none.

        Raises:
            DataError: a line that this program cannot have written.
        """
        try:
            for line in self._lines():
                try:
                    take(line, json.loads(line.content))
                except UserError:
                    raise
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(
                        f"{self.path}:{line.number}: not a line of {what} ({error!r}); {advice}"
                    ) from error
        except BaseException:
            self.close()
            raise

    def _lines(self) -> Iterator[Line]:
        """The complete lines; what stands behind the last of them is cut off once all have been taken."""
        place = 0
        with self.path.open("rb") as file:
            for number, content in enumerate(file, start=1):
                if not content.endswith(b"\n"):
                    break
                yield Line(number, place, content)
                place += len(content)
        if place < self.path.stat().st_size:
            os.truncate(self.path, place)

    def _append(self, row: Mapping[str, Any]) -> int:
        """Write one line; returns its length in bytes.

        Raises:
            UserError: the system cannot write, as where the disk is full; so does every later call.
        """
        if self._failure is None:
            try:
                return _write_line(self._file, row)
            except OSError as error:
                # What may be there of the line would run into the next; reading the file again drops it.
                self._file.close()
                self._failure = (
                    f"{self.path} cannot be written ({error}); all before is kept: make room, "
                    "then start the same command again"
                )
        # Of several threads that write, any may be the one whose error is shown: all tell the first one's.
        raise UserError(self._failure)


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Write one line to a log that needs no lock and is not read back first; made where it is missing.

    Raises:
        UserError: the system cannot write, as where the disk is full.
    """
    try:
        with path.open("ab", buffering=0) as file:
            _write_line(file, row)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}); make room, then start the same command again"
        ) from error


def _write_line(file: RawIOBase, row: Mapping[str, Any]) -> int:
    """Hand one line to the system, in one piece where it takes it; returns its length in bytes."""
    line = rest = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    while rest:
        rest = rest[file.write(rest) :]
    return len(line)
