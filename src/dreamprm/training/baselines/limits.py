"""Checks of a baseline's settings when it is made: what was given, what is allowed."""

from __future__ import annotations

import math
from typing import Any


def check_share(value: Any, *, setting: str, open_ends: bool = False) -> None:
    """Refuse what is no number in [0, 1], or in (0, 1) where the ends are open.

    Raises:
        ValueError: with the setting's name and the value.
    """
    inside = _is_number(value) and (0 < value < 1 if open_ends else 0 <= value <= 1)
    if not inside:
        allowed = "(0, 1)" if open_ends else "[0, 1]"
        raise ValueError(f"{setting} must be a number in {allowed}, got {value!r}")


def check_number(value: Any, *, setting: str, above: float) -> None:
    """Refuse what is no finite number above a bound.

    Raises:
        ValueError: with the setting's name and the value.
    """
    if not _is_number(value) or not value > above:
        raise ValueError(f"{setting} must be a number > {above:g}, got {value!r}")


def check_count(value: Any, *, setting: str, least: int = 1) -> None:
    """Refuse what is no whole number from `least` on.

    Raises:
        ValueError: with the setting's name and the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{setting} must be a whole number >= {least}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
