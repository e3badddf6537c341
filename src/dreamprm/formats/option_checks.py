"""Checks of a format's options, which come from YAML or the command line and may be of any type."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from dreamprm.config.errors import UserError


def one_of(name: str, value: Any, allowed: Sequence[str | None]) -> None:
    """Check an option that has few values.

    Raises:
        UserError: it is none of the allowed values; with the nearest one.
    """
    if value in allowed:
        return
    words = [word for word in allowed if word is not None]
    near = difflib.get_close_matches(str(value), words, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(words) + (" or null" if None in allowed else "")
    raise UserError(f"{name} must be one of {known}; got {value!r}{hint}")


def optional_name(name: str, value: Any) -> None:
    """Check an option that is a text or null.

    Raises:
        UserError: it is neither, or empty.
    """
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise UserError(f"{name} must be a text that is not empty, or null; got {value!r}")


def whole_number(name: str, value: Any, *, least: int) -> None:
    """Check an option that is a whole number.

    Raises:
        UserError: it is none, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} must be a whole number >= {least}; got {value!r}")


def true_or_false(name: str, value: Any) -> None:
    """Check an option that is true or false.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false; got {value!r}")
