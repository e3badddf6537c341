"""JSON arrays, JSON Lines and objects, read value by value, with line numbers, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.files.json_values import JsonReader, UnusableValue

CHUNK_CHARACTERS = 1 << 20
"""How much of a JSON array is read at a time."""

MAX_VALUE_CHARACTERS = 1 << 26
"""The longest accepted value of a JSON array: a missing closing quote would read to the end of the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value of the file and the line it starts on; `problem` says why it could not be read or be used.

    `element` is the value's number in its array, from 1 (or its name in an object), if another value starts
    on the same line, so that the line alone does not identify it; None if it does.
    """

    line: int
    value: Any
    problem: str | None = None
    element: int | str | None = field(default=None, compare=False)


def stream_json(path: str | Path) -> Iterator[Row]:
    """Read a JSON array or a JSON Lines file one value at a time.

    The first character that is not white space, `[` or `{`, decides which of the two it is, never the file's
    name. A line of a JSON Lines file that is not JSON is yielded with its `problem`, since the next line can
    still be read; a broken array raises, since it cannot be read further. A value that this package cannot
    hold (see `dreamprm.files.json_values`) is yielded with its `problem` in both.

    Args:
        path: the file, UTF-8 with or without a byte order mark.

    Yields:
        Rows in file order. At most about one mebibyte of text, or one value, is held in memory at a time.

    Raises:
        UserError: there is no such file.
        DataError: the file is empty, starts with something else, is not UTF-8, or is a broken array.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}; give the path of a JSON or JSON Lines file")
    with path.open(encoding="utf-8-sig") as file:
        try:
            first = _first_character(file)
            file.seek(0)
            if first == "[":
                yield from _array(file, path)
            elif first == "{":
                yield from _lines(file)
            elif not first:
                raise DataError(
                    f"{path}: the file is empty; allowed: a JSON array, or one JSON object per line"
                )
            else:
                raise DataError(
                    f"{path}: starts with {first!r}; allowed: '[' (a JSON array of objects)"
                    " or '{' (one JSON object per line)"
                )
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from error


def not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    """The error for a text file in another encoding, with the first line that is not UTF-8."""
    with path.open("rb") as file:
        line = next((number for number, text in enumerate(file, start=1) if not _is_utf8(text)), 1)
    return DataError(f"{path}:{line}: not UTF-8 text ({error.reason}); save the file as UTF-8")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _first_character(file: IO[str]) -> str:
    while chunk := file.read(4096):
        if text := chunk.lstrip():
            return text[0]
    return ""


def _lines(file: IO[str]) -> Iterator[Row]:
    reader = JsonReader()
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            value = reader.whole(line)
        except UnusableValue as unusable:
            yield Row(number, None, str(unusable))
        except json.JSONDecodeError as error:
            yield Row(
                number,
                None,
                f"not a JSON object: {error.msg} at column {error.colno}; allowed: one JSON object per line",
            )
        else:
            yield Row(number, value)


class JsonText:
    """The part of one long JSON value's text that is in memory: `text[position:]` is still to be read.

    Args:
        file: the open file.
        path: the file, for messages.
        what: what the value is, for messages.
    """

    def __init__(self, file: IO[str], path: Path, *, what: str = "array") -> None:
        self.file, self.path, self.what = file, path, what
        self.text, self.position, self.line, self.ended = "", 0, 1, False
        self.reader = JsonReader()

    def advance(self, end: int) -> None:
        """Move on to `end`, keeping count of the lines."""
        self.line += self.text.count("\n", self.position, end)
        self.position = end

    def extend(self) -> None:
        """Drop the parsed text and read more; doubling the size keeps the cost of a long value linear."""
        rest = self.text[self.position :]
        more = self.file.read(max(CHUNK_CHARACTERS, len(rest)))
        self.ended = not more
        self.text, self.position = rest + more, 0

    def next_character(self) -> str:
        """Skip white space and return the next character, or "" at the end of the file."""
        while True:
            end = self.position
            while end < len(self.text) and self.text[end] in " \t\r\n":
                end += 1
            self.advance(end)
            if end < len(self.text) or self.ended:
                return self.text[end : end + 1]
            self.extend()

    def error(self, what: str, at: int | None = None, element: int | None = None) -> DataError:
        line = self.line + self.text.count("\n", self.position, self.position if at is None else at)
        where = f"{self.path}:{line}" + ("" if element is None else f": element {element}")
        return DataError(
            f"{where}: broken JSON {self.what}: {what}; the rows after it cannot be read; fix the file"
        )


def _array(file: IO[str], path: Path) -> Iterator[Row]:
    text = JsonText(file, path)
    text.next_character()
    yield from array_values(text)
    if rest := text.next_character():
        raise text.error(f"text after the closing ']': {rest!r}")


def array_values(text: JsonText) -> Iterator[Row]:
    """The values of the array that opens at the text's position, which is moved past its end."""
    text.advance(text.position + 1)  # the opening bracket
    if text.next_character() == "]":
        text.advance(text.position + 1)
        return
    before: int | None = None  # the line of the value before
    number = 0
    while True:
        line, number = text.line, number + 1
        value, problem = next_value(text, number if line == before else None)
        separator = text.next_character()
        following = None
        if separator == ",":
            text.advance(text.position + 1)
            text.next_character()
            following = text.line
        yield Row(line, value, problem, element=number if line in (before, following) else None)
        if separator not in {",", "]"}:
            found = separator or "the end of the file"
            raise text.error(f"expected ',' or ']' after a value, found {found!r}")
        if separator == "]":
            text.advance(text.position + 1)
            return
        before = line


# A value cut off by the end of the held text fails at that end, except within a string (reported at the
# string's start), or up to this many characters before it (inside a literal or a \u escape).
_CUT_TOLERANCE = 16


def next_value(text: JsonText, element: int | None = None) -> tuple[Any, str | None]:
    """The value that starts at the text's position, which is moved past it; and why it cannot be used.

    Args:
        text: the text.
        element: the value's number in its array, for messages; None where its line identifies it.
    """
    while True:
        value, end, problem = None, None, None
        try:
            value, end = text.reader.first(text.text, text.position)
        except UnusableValue as unusable:
            end, problem = unusable.end, str(unusable)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or error.pos >= len(text.text) - _CUT_TOLERANCE
            if text.ended or not cut:
                raise text.error(error.msg, error.pos, element) from error
        # A number at the very end of the held text may continue in the next chunk.
        if end is not None and (end < len(text.text) or text.ended):
            text.advance(end)
            return value, problem
        if len(text.text) - text.position > MAX_VALUE_CHARACTERS:
            raise text.error(
                f"a value longer than {MAX_VALUE_CHARACTERS} characters (a missing closing quote?)"
            )
        text.extend()


def stream_members(path: str | Path) -> Iterator[tuple[str, Row]]:
    """Read the members of a file that holds a single JSON object, one at a time.

    For files such as `{"1": {...}, "2": {...}}`, of any size.

    Yields:
        Each member's name and its value with the line it starts on.

    Raises:
        UserError: there is no such file.
        DataError: the file holds something else, or is broken.
    """
    with _opened(Path(path)) as text:
        before = text.line  # that of the brace
        for number, name in enumerate(_names(text), start=1):
            line = text.line
            value, problem = next_value(text)
            yield name, Row(line, value, problem, element=number if line == before else None)
            before = line


def stream_member_array(path: str | Path, member: str) -> Iterator[Row]:
    """Read the array that one member of a file's JSON object holds, value by value.

    For files such as `{"info": {...}, "questions": [...]}`, of any size; the other members are skipped.

    Yields:
        The array's values with the lines they start on.

    Raises:
        UserError: there is no such file.
        DataError: the file holds something else, has no such member, or is broken.
    """
    path, seen = Path(path), []
    with _opened(path) as text:
        for name in _names(text):
            seen.append(name)
            if name != member:
                next_value(text)
            elif text.next_character() == "[":
                yield from array_values(text)
            else:
                raise DataError(
                    f"{path}:{text.line}: member {member!r} is not an array; allowed: a JSON array"
                )
    if member not in seen:
        raise DataError(f"{path}: the object has no member {member!r}; it has {', '.join(seen) or 'none'}")


def _names(text: JsonText) -> Iterator[str]:
    """The object's names; the caller must move the text past each value before asking for the next name."""
    text.advance(text.position + 1)  # the opening brace
    separator = ","
    if text.next_character() == "}":
        separator = "}"
        text.advance(text.position + 1)
    while separator == ",":
        if text.next_character() != '"':
            raise text.error("expected a name in double quotes")
        name, problem = next_value(text)
        if problem is not None:
            raise text.error(problem)
        if text.next_character() != ":":
            raise text.error(f"expected ':' after the name {name!r}")
        text.advance(text.position + 1)
        text.next_character()
        yield name
        separator = text.next_character()
        if separator not in {",", "}"}:
            raise text.error(
                f"expected ',' or '}}' after a value, found {separator or 'the end of the file'!r}"
            )
        text.advance(text.position + 1)
    if rest := text.next_character():
        raise text.error(f"text after the closing '}}': {rest!r}")


@contextmanager
def _opened(path: Path) -> Iterator[JsonText]:
    if not path.is_file():
        raise UserError(f"no such file: {path}; give the path of a JSON file")
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = JsonText(file, path, what="object")
            first = text.next_character()
            if first != "{":
                found = first or "nothing"
                raise DataError(f"{path}: starts with {found!r}; allowed: '{{' (one JSON object)")
            yield text
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
