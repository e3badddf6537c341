"""What a row says of the groups its question belongs to."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from dreamprm.data.fields import Fields


def groups_of(row: Fields, names: Iterable[str], *, inside: str | None = None) -> dict[str, tuple[str, ...]]:
    """The values of some fields, each as a tuple of texts; absent and empty ones are left out.

    A value is a text, a number, or a list of them, also one that a table's cell holds in Python's notation.

    Args:
        row: the row.
        names: its fields.
        inside: an object in the row that may hold them instead, such as `metadata`.

    Raises:
        DataError: a value that is none of these.
    """
    held = row.values.get(inside) if inside is not None else None
    nested: Mapping[str, Any] = held if isinstance(held, dict) else {}
    found = {}
    for name in names:
        value = row.values.get(name, nested.get(name))
        texts = [_text(row, name, one) for one in _as_list(value)]
        if kept := tuple(text for text in texts if text):
            found[name] = kept
    return found


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return [value]
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(row: Fields, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise row.error(name, "a text, a number, or a list of them", value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
