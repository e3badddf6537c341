"""The forms of what other commands leave in their folders: of which type and size each value must be.

A page is made of hundreds of values; each is checked once, when its file is read, so that no damaged file
ends in a traceback, or in a figure that nobody measured. A form is a function that takes a value and its
place in the file, and raises `Misfit` where it does not fit. Keys that a form does not name are not looked
at: a later version may write more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.files.json_values import shown

Form = Callable[[Any, str], None]

LARGEST = 1e100
"""No loss, weight or log-odds comes near it, and beyond some multiple of it plots have no axes."""

_SLACK = 1e-6  # means of shares may leave [0, 1] by rounding
_NOTHING: Mapping[str, Form] = MappingProxyType({})


class Misfit(ValueError):
    """A value that does not fit its form, in words that follow the name of the file."""


def check_form(file: Path, value: Any, form: Form, *, command: str, line: int | None = None) -> None:
    """Check the value that a file (or a line of it) holds.

    Args: command: what writes the file, for the advice.
    Raises: DataError that names file and field, what is there and what is allowed.
    """
    try:
        form(value, "")
    except Misfit as error:
        where = file if line is None else f"{file}:{line}"
        raise DataError(
            f"{where}: {error}; the file is damaged or from another version: run `{command}` again"
        ) from error


def misfit(place: str, value: Any, allowed: str) -> Misfit:
    """What to raise for a value that is there but not allowed."""
    return Misfit(f"field {place}: got {shown(value)}; allowed: {allowed}")


def number_in(
    low: float = -LARGEST, high: float = LARGEST, *, whole: bool = False, known: bool = True
) -> Form:
    """A number in [low, high]; unless it must be `known`, also null, NaN and infinities."""
    kind = "a whole number" if whole else "a number"
    reach = f"in [{low:g}, {high:g}]" if abs(high) < LARGEST else f">= {low:g}" if low > -LARGEST else ""
    allowed = f"{kind} {reach}".rstrip() + ("" if known else ", or null")
    slack = 0.0 if whole else _SLACK

    def check(value: Any, place: str) -> None:
        if not known and (value is None or (isinstance(value, float) and not math.isfinite(value))):
            return
        # Whole numbers are of 64 bits at most: `parse_json` refuses longer ones.
        fits = type(value) in ((int,) if whole else (int, float)) and low - slack <= value <= high + slack
        if not fits:
            raise misfit(place, value, allowed)

    return check


def text(value: Any, place: str) -> None:
    """A text."""
    if not isinstance(value, str):
        raise misfit(place, value, "a text")


def truth(value: Any, place: str) -> None:
    """A truth value."""
    if not isinstance(value, bool):
        raise misfit(place, value, "true or false")


def one_of(*values: str) -> Form:
    """One of these texts."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or value not in values:
            raise misfit(place, value, ", ".join(values))

    return check


def optional(form: Form) -> Form:
    """What fits the form, or null."""
    return lambda value, place: None if value is None else form(value, place)


def list_of(form: Form, *, least: int = 0, length: int | None = None) -> Form:
    """A list whose values all fit one form."""
    allowed = "a list" + (f" of {length}" if length is not None else f" of at least {least}" if least else "")

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) < least or length not in (None, len(value)):
            raise misfit(place, value, allowed)
        for index, part in enumerate(value):
            form(part, f"{place}[{index}]")

    return check


def map_of(form: Form, *, names: Form = text, least: int = 0) -> Form:
    """An object of any names, all values of which fit one form."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) < least:
            raise misfit(place, value, "an object" + (f" of at least {least}" if least else ""))
        for name, part in value.items():
            names(name, f"{_within(place)}{name}")
            form(part, f"{_within(place)}{name}")

    return check


def object_of(required: Mapping[str, Form], optionals: Mapping[str, Form] = _NOTHING) -> Form:
    """An object with a form for each of its keys; one of `optionals` may be absent."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) and (value is not None or not required):
            raise misfit(place, value, "an object")
        held = value or {}
        require_keys(held, required, place)
        for name, form in required.items():
            form(held[name], f"{_within(place)}{name}")
        for name, form in optionals.items():
            if name in held:
                form(held[name], f"{_within(place)}{name}")

    return check


def count_name(value: Any, place: str) -> None:
    """The name of an entry that is a number of candidates."""
    # ASCII: `isdecimal` accepts other scripts' digits.
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0):
        raise misfit(place, value, "a number of candidates as its name")


def interval(form: Form) -> Form:
    """Two numbers, the lower one first."""
    pair = list_of(form, length=2)

    def check(value: Any, place: str) -> None:
        pair(value, place)
        if value[0] is not None and value[1] is not None and value[0] > value[1]:
            raise misfit(place, value, "the lower end first")

    return check


def require_keys(held: Mapping[str, Any], wanted: Collection[str], place: str) -> None:
    """Check that an object has these keys.

    Raises: Misfit that names the first one that is missing.
    """
    missing = next((key for key in wanted if key not in held), None)
    if missing is not None:
        raise Misfit(f"field {_within(place)}{missing} is missing")


def require_known(names: Collection[str], known: Collection[str], place: str, what: str) -> None:
    """Check that names are among those that another part of the file introduces.

    Raises: Misfit that names the first one that is not.
    """
    strange = next((name for name in names if name not in known), None)
    if strange is not None:
        raise misfit(place, strange, f"{what}: {', '.join(known) or 'none'}")


def _within(place: str) -> str:
    return f"{place}." if place else ""
