"""JSON objects read member by member, with line numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.json_stream import JsonText, Row, array_values, next_value, not_utf8


def stream_members(path: str | Path) -> Iterator[tuple[str, Row]]:
    """Read the members of a file's one JSON object, one at a time.

    For files such as `{"1": {...}, "2": {...}}`, of any size.

    Yields:
        Each member's name and its value with the line it starts on.

    Raises:
        UserError: there is no such file.
        DataError: the file holds something else, or is broken.
    """
    with _opened(Path(path)) as text:
        for name in _names(text):
            line = text.line
            yield name, Row(line, next_value(text))


def stream_member_array(path: str | Path, member: str) -> Iterator[Row]:
    """Read the array that one member of a file's JSON object holds, value by value.

    For files such as `{"info": {...}, "questions": [...]}`, of any size; the other members are passed over.

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
                raise DataError(f"{path}:{text.line}: member {member!r} is no array; allowed: a JSON array")
    if member not in seen:
        raise DataError(f"{path}: the object has no member {member!r}; it has {', '.join(seen) or 'none'}")


def _names(text: JsonText) -> Iterator[str]:
    """The object's names; whoever takes one moves the text behind its value before asking for the next."""
    text.advance(text.position + 1)  # the opening brace
    separator = ","
    if text.next_character() == "}":
        separator = "}"
        text.advance(text.position + 1)
    while separator == ",":
        if text.next_character() != '"':
            raise text.error("expected a name in double quotes")
        name = next_value(text)
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
