"""Checks of a label method's settings when it is made: what was given, what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def check_count(value: Any, *, setting: str, advice: str = "") -> None:
    """Refuse what is no whole number >= 1; a bool is none.

    Raises:
        ValueError: with the setting's name, the value and the advice.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        tail = f"; {advice}" if advice else ""
        raise ValueError(f"{setting} must be a whole number >= 1, got {value!r}{tail}")


def check_between(value: Any, low: float, high: float, *, setting: str, advice: str = "") -> None:
    """Refuse what is no number with low < value < high.

    Raises:
        ValueError: with the setting's name, the value and the advice.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low < value < high:
        bounds = f"> {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        tail = f"; {advice}" if advice else ""
        raise ValueError(f"{setting} must be a number {bounds}, got {value!r}{tail}")


def check_choice(value: Any, *, setting: str, allowed: Collection[str]) -> None:
    """Refuse what is none of the names allowed.

    Raises:
        ValueError: with the setting's name, the value and the names.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{setting} must be one of {', '.join(allowed)}, got {value!r}")


def check_prefixes(prefixes: int) -> None:
    """Refuse a negative number of prefixes to be planned for.

    Raises:
        ValueError: with the number.
    """
    if prefixes < 0:
        raise ValueError(f"prefixes must be >= 0, got {prefixes}; it is one less than the chain's steps")
