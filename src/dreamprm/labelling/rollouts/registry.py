"""Label methods by name, and from a name with settings to the method."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.config.strategies import build, strategy_settings
from dreamprm.labelling.rollouts.adaptive import Adaptive
from dreamprm.labelling.rollouts.base import LabelMethod
from dreamprm.labelling.rollouts.first_error import FirstError
from dreamprm.labelling.rollouts.full import Full

METHODS: Mapping[str, type[LabelMethod]] = MappingProxyType(
    {
        "full": Full,
        "adaptive": Adaptive,
        "first_error": FirstError,
    }
)
"""Methods by name; each class is a frozen dataclass whose fields are its settings."""


def build_method(name: str, **settings: Any) -> LabelMethod:
    """The label method of this name (a key of `METHODS`) with its settings; defaults alone work.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), or a value that the method
            refuses.
    """
    method: LabelMethod = build("label method", name, METHODS, settings)
    return method


def method_settings(name: str) -> dict[str, Any]:
    """The settings of a label method with their defaults.

    Raises:
        UserError: an unknown name.
    """
    return strategy_settings("label method", name, METHODS)
