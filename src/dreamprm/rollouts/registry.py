"""Label methods by name, and from a name with settings to the method."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.errors import UserError
from dreamprm.rollouts.adaptive import Adaptive
from dreamprm.rollouts.base import LabelMethod
from dreamprm.rollouts.first_error import FirstError
from dreamprm.rollouts.full import Full

METHODS: Mapping[str, type[LabelMethod]] = MappingProxyType({
    "full": Full,
    "adaptive": Adaptive,
    "first_error": FirstError,
})
"""Methods by name; each class is a frozen dataclass whose fields are its settings."""


def build_method(name: str, **settings: Any) -> LabelMethod:
    """The label method of this name (a key of `METHODS`) with its settings; defaults alone work.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), or a value that the method
            refuses.
    """
    known = method_settings(name)
    for key in settings:
        if key not in known:
            raise UserError(f"label method {name!r} has no setting {key!r}{_nearest(key, list(known))}; "
                            f"its settings: {', '.join(known)}")
    try:
        return METHODS[name](**settings)
    except ValueError as error:
        raise UserError(f"label method {name!r}: {error}") from error


def method_settings(name: str) -> dict[str, Any]:
    """The settings of a label method with their defaults.

    Raises:
        UserError: an unknown name.
    """
    if name not in METHODS:
        raise UserError(f"unknown label method {name!r}{_nearest(name, list(METHODS))}; "
                        f"known: {', '.join(METHODS)}")
    method: Any = METHODS[name]
    return {field.name: field.default for field in dataclasses.fields(method)}


def _nearest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""
