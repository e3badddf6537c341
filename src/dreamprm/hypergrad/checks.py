"""Checks of an estimator's settings when it is made: what was given, what is allowed, what to do."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def check_positive(value: Any, *, setting: str, advice: str = "", zero: bool = False) -> None:
    """Check that the value is a finite number > 0 (`zero`: >= 0); a bool is refused.

    Raises:
        ValueError: with the setting's name, the value and the advice.
    """
    bound = ">= 0" if zero else "> 0"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(_message(setting, f"a number {bound}", value, advice))
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(_message(setting, bound, value, advice))


def check_count(value: Any, *, setting: str, advice: str = "") -> None:
    """Check that the value is a whole number >= 1.

    Raises:
        ValueError: with the setting's name, the value and the advice.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(_message(setting, "a whole number >= 1", value, advice))


def check_choice(value: Any, *, setting: str, allowed: Collection[str | None]) -> None:
    """Check that the value is one of the allowed names.

    Raises:
        ValueError: with the setting's name, the value and the names.
    """
    if not (value is None or isinstance(value, str)) or value not in allowed:
        names = ", ".join("None" if name is None else name for name in allowed)
        raise ValueError(f"{setting} must be one of {names}, got {value!r}")


def check_preconditioner(value: Any) -> None:
    """Check that the value is None or "adamw", AdamW's own scaling of its steps.

    Raises:
        ValueError: with the value.
    """
    if value is not None and value != "adamw":
        raise ValueError(f'preconditioner must be None or "adamw", got {value!r}')


def _message(setting: str, allowed: str, value: Any, advice: str) -> str:
    return f"{setting} must be {allowed}, got {value!r}" + (f"; {advice}" if advice else "")
