"""JSON values that the rest of the package can hold: read from text, with those refused that it cannot.

JSON allows half a surrogate pair, which no file in UTF-8 can hold; NUL, which ends a path; numbers of any
length, which fit into no column; and any nesting, which exhausts Python's stack. Each of them would fail
somewhere later, with an error that names neither file nor line. They are found here, by field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 100
"""The deepest accepted nesting: far more than records have, far less than Python's stack allows."""

_LARGEST = 2**63
_SHOWN_CHARACTERS = 80
_UNUSABLE_TEXT = re.compile("[\x00\ud800-\udfff]")
# What only texts that hold one of them can contain, so that most texts are never taken apart.
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(?P<name>\s*:)?|[\[\]{}]', re.DOTALL)


class UnusableValue(ValueError):
    """A value that JSON can hold and this package cannot.

    Attributes:
        field: where it is in the value that was read, such as `candidates[2].text`; "" for the value itself.
        end: where that value ends in the text it was read from.
    """

    def __init__(self, field: str, got: str, allowed: str, *, end: int = 0) -> None:
        place = f"field {field!r}" if field else "the value"
        super().__init__(f"{place}: got {got}; allowed: {allowed}")
        self.field, self.end = field, end


class _LongInteger:
    """Stands for an integer that does not fit into 64 bits, or has more digits than Python converts."""

    def __init__(self, digits: str) -> None:
        self._digits = digits

    def __repr__(self) -> str:
        return self._digits


class JsonReader:
    """Reads JSON values from text, one after another, as `json.loads` does; for one thread."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(parse_int=self._integer)
        self._suspect = False

    def whole(self, text: str) -> Any:
        """The value of a text that holds nothing else.

        Raises:
            json.JSONDecodeError: it is not JSON.
            UnusableValue: the value cannot be used.
        """
        start = len(text) - len(text.lstrip(" \t\r\n"))
        value, end = self.first(text, start)
        rest = text[end:].lstrip(" \t\r\n")
        if rest:
            raise json.JSONDecodeError("Extra data", text, len(text) - len(rest))
        return value

    def first(self, text: str, start: int = 0) -> tuple[Any, int]:
        """The value that starts at a place of the text, and where it ends.

        Raises:
            json.JSONDecodeError: as `whole`.
            UnusableValue: as `whole`; its `end` is where reading can go on.
        """
        self._suspect = False
        try:
            value, end = self._decoder.raw_decode(text, start)
        except RecursionError:
            field, end = _deepest(text, start)
            raise _too_deep(field, end) from None
        if self._suspect or _may_be_unusable(text[start:end]):
            problem = unusable(value)
            if problem is not None:
                problem.end = end
                raise problem
        return value, end

    def _integer(self, digits: str) -> Any:
        if len(digits) < 19:
            return int(digits)
        if len(digits) < 21 and -_LARGEST <= (value := int(digits)) < _LARGEST:
            return value
        self._suspect = True
        return _LongInteger(digits)


def parse_json(text: str | bytes) -> Any:
    """The JSON value of a text, or of its bytes in UTF-8.

    Raises:
        ValueError: not JSON (`json.JSONDecodeError`), not UTF-8, or a value that cannot be used
            (`UnusableValue`).
    """
    return JsonReader().whole(text if isinstance(text, str) else text.decode("utf-8"))


def unusable(value: Any, *, typed: bool = False) -> UnusableValue | None:
    """The first part of a value that cannot be used, by its field; None if all of it can.

    Args:
        value: of JSON, or a row of a table; parts of other types are not looked at.
        typed: whether it is of a column with a type, which holds integers of 64 bits at most.
    """
    waiting: list[tuple[str, int, Any]] = [("", 0, value)]
    while waiting:
        field, depth, part = waiting.pop()
        if isinstance(part, str):
            found = _UNUSABLE_TEXT.search(part)
            if found is not None:
                return UnusableValue(field, shown(part), _allowed(found[0]))
        elif isinstance(part, dict | list | tuple):
            if depth >= MAX_DEPTH:
                return _too_deep(re.split(r"[.[]", field, maxsplit=1)[0])
            within = list(_parts(part, field))
            for name in part if isinstance(part, dict) else ():
                found = _UNUSABLE_TEXT.search(name) if isinstance(name, str) else None
                if found is not None:
                    return UnusableValue(field, f"the name {shown(name)}", _allowed(found[0]))
            waiting += [(place, depth + 1, held) for place, held in reversed(within)]
        elif not typed and (
            isinstance(part, _LongInteger) or (isinstance(part, int) and not -_LARGEST <= part < _LARGEST)
        ):
            return UnusableValue(field, shown(part), "a whole number of less than 64 bits (or a text)")
    return None


def shown(value: Any) -> str:
    """A value as messages show it: its repr, truncated if long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of levels
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _parts(value: dict[Any, Any] | list[Any] | tuple[Any, ...], field: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        return ((f"{field}[{index}]", part) for index, part in enumerate(value))
    return ((f"{field}.{name}" if field else str(name), part) for name, part in value.items())


def _allowed(character: str) -> str:
    if character == "\0":
        return "text without NUL characters (\\u0000)"
    return "text of whole characters, without half a surrogate pair (such as \\ud83d alone)"


def _too_deep(field: str, end: int = 0) -> UnusableValue:
    return UnusableValue(
        field, "lists or objects within one another", f"at most {MAX_DEPTH} levels of them", end=end
    )


def _may_be_unusable(text: str) -> bool:
    deep = text.count("[") + text.count("{") > MAX_DEPTH
    return deep or _SUSPECT_ESCAPE.search(text) is not None


def _deepest(text: str, start: int) -> tuple[str, int]:
    """The field of the outermost object that nests too deep, and where the whole value ends.

    Raises:
        json.JSONDecodeError: the text ends within the value.
    """
    depth, name, field = 0, "", None
    for token in _TOKEN.finditer(text, start):
        mark = token[0][0]
        if mark == '"':
            if depth == 1 and token["name"] is not None:
                name = token[0][1 : token[0].rindex('"')]
        elif mark in "[{":
            depth += 1
            if depth > MAX_DEPTH and field is None:
                field = name
        else:
            depth -= 1
            if depth <= 0:
                return field or "", token.end()
    raise json.JSONDecodeError("the text ends within a value", text, len(text))
