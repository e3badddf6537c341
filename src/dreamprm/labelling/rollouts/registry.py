"""Label methods by name, and how to build one from a name and its settings."""

from __future__ import annotations

from dreamprm.config.strategies import Registry
from dreamprm.labelling.rollouts.base import LabelMethod

METHODS: Registry[LabelMethod] = Registry(
    "label method",
    {
        "full": "dreamprm.labelling.rollouts.full:Full",
        "adaptive": "dreamprm.labelling.rollouts.adaptive:Adaptive",
        "first_error": "dreamprm.labelling.rollouts.first_error:FirstError",
    },
)
"""Methods by name; each class is a frozen dataclass whose fields are its settings."""

build_method = METHODS.build
"""`build_method(name, **settings)`: the label method of this name; all settings have defaults."""

method_settings = METHODS.settings
"""`method_settings(name)`: a label method's settings with their defaults."""
