"""Append-only JSON Lines files that a long command resumes from: one writer, and intact after a kill."""

from __future__ import annotations

import binascii
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from io import RawIOBase
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from dreamprm.config.errors import DataError, UserError
from dreamprm.files.atomic import make_folder
from dreamprm.files.json_values import parse_json, shown
from dreamprm.files.locks import acquire


class Line(NamedTuple):
    """A complete line of the file: its number (from 1), its byte offset, its bytes."""

    number: int
    place: int
    content: bytes


class AppendOnlyFile:
    """A JSON Lines file whose lines are passed to the system as they are written, without a buffer.

    A line ends with 16 blanks and tabs, the bits of a checksum, by which damage is noticed: readers of JSON
    skip them, and who writes a line anew leaves them out, as earlier versions did. A line that was cut short,
    by a kill or a full disk, is dropped when the file is next opened and read. One process at a time holds
    the file; if several of its threads write, the subclass serialises them with `_mutex`.

    Args:
        path: the file; it and its folder are created if missing. `path.lock` is next to it.

    Raises:
        UserError: another process has locked it, or it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._failure: str | None = None
        self._mutex = threading.Lock()
        lock = None
        try:
            make_folder(self.path.parent)
            self._lock = lock = acquire(Path(f"{self.path}.lock"), of=self.path)
            # Unbuffered: a line that cannot be written leaves nothing behind to precede the next one.
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            if lock is not None:
                lock.release()
            raise UserError(
                f"{self.path} cannot be opened for writing ({error}); give another output"
            ) from error

    def close(self) -> None:
        """Close the file and release its lock; closing twice is harmless."""
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
        """Pass every complete line and its JSON value to `take`, in order; for use in the constructor.

        Args:
            take: raises ValueError, KeyError or TypeError if this program cannot have written the line, or a
                UserError of its own. The file is then closed.
            what: what the file is a journal of, for messages.
            advice: what to do about a line that does not belong, for messages.

        Raises:
            DataError: a line that this program cannot have written.
        """
        try:
            for line in self._lines():
                try:
                    take(line, line_value(line.content))
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
        """The complete lines; anything after the last one is truncated once all have been read."""
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
            UserError: the file cannot be written, for example because the disk is full; every later call then
                raises too.
        """
        if self._failure is None:
            try:
                return _write(self._file, _checked_line(row))
            except OSError as error:
                # A partial line on disk would merge with the next one; reading the file again drops it.
                self._file.close()
                self._failure = (
                    f"{self.path} cannot be written ({error}); everything written before is kept: make room, "
                    "then start the same command again"
                )
        # If several threads write, any of their errors may be the one shown: all report the first failure.
        raise UserError(self._failure)


_KINDS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "a text": lambda value: isinstance(value, str),
        "a text or null": lambda value: value is None or isinstance(value, str),
        "a whole number >= 0": lambda value: type(value) is int and value >= 0,
        "true or false": lambda value: isinstance(value, bool),
        "an object": lambda value: isinstance(value, dict),
        "a finite number or null": lambda value: value is None or _is_finite(value),
        "an object of finite numbers": lambda value: (
            isinstance(value, dict) and all(map(_is_finite, value.values()))
        ),
        "an object of texts": lambda value: (
            isinstance(value, dict) and all(isinstance(part, str) for part in value.values())
        ),
        "a list of texts": lambda value: (
            isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
        ),
        "a list of lists of finite numbers, or null": lambda value: (
            isinstance(value, list)
            and all(part is None or (isinstance(part, list) and all(map(_is_finite, part))) for part in value)
        ),
    }
)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def require_fields(row: Any, fields: Mapping[str, str], *, within: str = "") -> None:
    """Check the types of a line's fields; fields that are not named are not looked at.

    Args:
        row: the line's JSON value.
        fields: what each field has to be, one of `_KINDS`.
        within: where the object is in the line, such as `replies[0]`.

    Raises:
        ValueError: naming the field, what is there and what is allowed.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{f'field {within!r}: ' if within else ''}got {shown(row)}; allowed: an object")
    for name, allowed in fields.items():
        full = f"{within}.{name}" if within else name
        if name not in row:
            raise ValueError(f"field {full!r} is missing; allowed: {allowed}")
        if not _KINDS[allowed](row[name]):
            raise ValueError(f"field {full!r}: got {shown(row[name])}; allowed: {allowed}")


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one line to a log that needs no lock and is not read first; the file is created if missing.

    Raises:
        UserError: the file cannot be written, for example because the disk is full.
    """
    try:
        with path.open("ab", buffering=0) as file:
            _write(file, _text(row) + b"\n")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}); make room, then start the same command again"
        ) from error


def line_value(content: bytes) -> Any:
    """The JSON value of a line.

    Raises:
        ValueError: it is no JSON, or its checksum is not that of its text.
    """
    value = parse_json(content)
    if has_changed(content):
        raise ValueError("its checksum is not that of its text, so it has changed since it was written")
    return value


def has_changed(content: bytes) -> bool:
    """Whether a line, or a file by `checked_text`, ends with a checksum that is not that of its text."""
    line = content.removesuffix(b"\n")
    text, checksum = line[:-_BITS], line[-_BITS:]
    return not checksum.strip(b" \t") and checksum != _checksum(text)


def checked_text(text: str) -> str:
    """A JSON text as a file whose last line ends with a checksum, as the lines of a journal do.

    For results that are read back: a program that writes the file anew leaves the checksum out.
    """
    return f"{text}{_checksum(text.encode()).decode()}\n"


_BITS = 16
_BLANKS = bytes.maketrans(b"01", b" \t")


def _checksum(text: bytes) -> bytes:
    return format(binascii.crc_hqx(text, 0xFFFF), f"0{_BITS}b").encode().translate(_BLANKS)


def _checked_line(row: Mapping[str, Any]) -> bytes:
    text = _text(row)
    return text + _checksum(text) + b"\n"


def _text(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def _write(file: RawIOBase, line: bytes) -> int:
    """Pass one line to the system, in one piece if possible; returns its length in bytes."""
    rest = line
    while rest:
        rest = rest[file.write(rest) :]
    return len(line)
