"""Generators by name, and from a name with settings to the generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.errors import UserError
from dreamprm.generators.base import Generator
from dreamprm.registry import default_settings, load, require_name, require_settings

GENERATORS: Mapping[str, str] = MappingProxyType({
    "openai": "dreamprm.generators.openai:OpenAIGenerator",
    "transformers": "dreamprm.generators.transformers:TransformersGenerator",
    "sandbox": "dreamprm.generators.sandbox:SandboxGenerator",
})
"""`module:class` by name; each class is a dataclass whose init fields are its settings. Imported on use: the
libraries behind them are optional, and slow to import."""


def build_generator(name: str, **settings: Any) -> Generator:
    """The generator of this name (a key of `GENERATORS`) with its settings.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a setting that must be given, or a
            value that the generator refuses; a library that is not installed.
    """
    known = generator_settings(name)
    require_settings(f"generator {name!r}", settings, known)
    required = [key for key, default in known.items() if default is dataclasses.MISSING]
    missing = [key for key in required if key not in settings]
    if missing:
        raise UserError(f"generator {name!r} needs {', '.join(missing)}")
    generator: Generator = load(GENERATORS[name])(**settings)
    return generator


def generator_settings(name: str) -> dict[str, Any]:
    """The settings of a generator with their defaults; `dataclasses.MISSING` where one must be given.

    Raises:
        UserError: an unknown name.
    """
    require_name("generator", name, GENERATORS)
    return default_settings(load(GENERATORS[name]))
