"""Checks of single fields; a bad one is a DataError naming file, line, field, value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError, closest

_SHOWN_CHARACTERS = 80


class Fields:
    """The fields of one record (or of an object inside it), read with checks.

    Args:
        value: what the file holds there.
        path: the file, for messages.
        line: the record's line, for messages.
        prefix: where this object stands inside the record, `candidates[2].` for instance.

    Raises:
        DataError: the value is no JSON object.
    """

    def __init__(self, value: Any, path: Path, *, line: int, prefix: str = "") -> None:
        self.path, self.line, self.prefix = path, line, prefix
        if not isinstance(value, dict):
            raise DataError(
                f"{path}:{line}: {prefix.rstrip('.') or 'the record'}: got {shown(value)};"
                " allowed: a JSON object"
            )
        self.values: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def error(self, name: str, allowed: str, given: Any = ...) -> DataError:
        """The error of a bad field; `given` where it is not the field's whole value."""
        given = self.values.get(name) if given is ... else given
        return DataError(
            f"{self.path}:{self.line}: field '{self.prefix}{name}': got {shown(given)}; allowed: {allowed}"
        )

    def require(self, name: str, allowed: str) -> Any:
        """The field's value; null counts as absent."""
        if name in self:
            return self.values[name]
        if name in self.values:
            raise self.error(name, allowed)
        raise self.missing(name, allowed)

    def missing(self, name: str, allowed: str) -> DataError:
        """The error of an absent field, with the nearest name that is there."""
        near = closest(name, self.values)
        hint = (
            f"; the nearest field there is '{near}'"
            if near
            else f"; the record has {', '.join(map(repr, self.values)) or 'no field'}"
        )
        return DataError(
            f"{self.path}:{self.line}: field '{self.prefix}{name}' is missing; allowed: {allowed}{hint}"
        )

    def text(self, name: str) -> str:
        """A required text that is not empty."""
        allowed = "a text that is not empty"
        value = self.require(name, allowed)
        if not isinstance(value, str) or not value.strip():
            raise self.error(name, allowed)
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None where the field is absent or null."""
        if name not in self:
            return None
        value = self.values[name]
        if not isinstance(value, str):
            raise self.error(name, "a text, or null")
        return value

    def truth(self, name: str) -> bool:
        """A required true or false."""
        value = self.require(name, "true or false")
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def optional_truth(self, name: str) -> bool | None:
        """True or false, or None where the field is absent or null."""
        return self.truth(name) if name in self else None

    def count(self, name: str) -> int | None:
        """A whole number >= 1, or None where the field is absent or null."""
        if name not in self:
            return None
        value = self.values[name]
        if not _is_count(value):
            raise self.error(name, "a whole number >= 1, or null")
        return int(value)

    def probability(self, name: str) -> float:
        """A required number in [0, 1]."""
        allowed = "a number in [0, 1]"
        value = self.require(name, allowed)
        if not _is_probability(value):
            raise self.error(name, allowed)
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A required list of texts that are not empty; the list itself may be."""
        allowed = "a list of texts"
        values = self._items(name, allowed)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise self.error(f"{name}[{index}]", "a text that is not empty", value)
        return tuple(values)

    def probabilities(self, name: str, length: int) -> tuple[float | None, ...]:
        """A required list of `length` numbers in [0, 1], null for those that are not known."""
        allowed = f"a list of {length} numbers in [0, 1] or null, one a step"
        values = self._items(name, allowed, length)
        for index, value in enumerate(values):
            if value is not None and not _is_probability(value):
                raise self.error(f"{name}[{index}]", "a number in [0, 1], or null", value)
        return tuple(None if value is None else float(value) for value in values)

    def counts(self, name: str, length: int) -> tuple[int | None, ...]:
        """A list of `length` whole numbers >= 1 or null; all unknown where the field is absent or null."""
        if name not in self:
            return (None,) * length
        values = self._items(name, f"a list of {length} whole numbers >= 1 or null, one a step", length)
        for index, value in enumerate(values):
            if value is not None and not _is_count(value):
                raise self.error(f"{name}[{index}]", "a whole number >= 1, or null", value)
        return tuple(None if value is None else int(value) for value in values)

    def objects(self, name: str) -> list[Fields]:
        """A required list of at least one JSON object."""
        allowed = "a list of at least one JSON object"
        values = self._items(name, allowed)
        if not values:
            raise self.error(name, allowed)
        return [
            Fields(value, self.path, line=self.line, prefix=f"{self.prefix}{name}[{index}].")
            for index, value in enumerate(values)
        ]

    def identifier(self) -> str:
        """The record's `id` (a text or a whole number); file name and line where it has none."""
        if "id" not in self:
            return f"{self.path.name}:{self.line}"
        value = self.values["id"]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error("id", "a text or a whole number, or null")
        return str(value)

    def _items(self, name: str, allowed: str, length: int | None = None) -> Sequence[Any]:
        value = self.require(name, allowed)
        if not isinstance(value, list):
            raise self.error(name, allowed)
        if length is not None and len(value) != length:
            raise DataError(
                f"{self.path}:{self.line}: field '{self.prefix}{name}': got {len(value)} values"
                f" for {length} steps;"
                f" allowed: {allowed}"
            )
        return value


def shown(value: Any) -> str:
    """A value as messages show it: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _is_probability(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(0 <= value <= 1)  # NaN is not in the range


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
