"""Generators by name, and from a name with settings to the generator."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from dreamprm.errors import UserError
from dreamprm.generators.base import Generator

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
    for key in settings:
        if key not in known:
            raise UserError(f"generator {name!r} has no setting {key!r}{_nearest(key, list(known))}; "
                            f"its settings: {', '.join(known)}")
    required = [key for key, default in known.items() if default is dataclasses.MISSING]
    missing = [key for key in required if key not in settings]
    if missing:
        raise UserError(f"generator {name!r} needs {', '.join(missing)}")
    generator: Generator = _class(name)(**settings)
    return generator


def generator_settings(name: str) -> dict[str, Any]:
    """The settings of a generator with their defaults; `dataclasses.MISSING` where one must be given.

    Raises:
        UserError: an unknown name.
    """
    if name not in GENERATORS:
        raise UserError(f"unknown generator {name!r}{_nearest(name, list(GENERATORS))}; "
                        f"known: {', '.join(GENERATORS)}")
    return {field.name: field.default for field in dataclasses.fields(_class(name)) if field.init}


def _class(name: str) -> Any:
    module, _, attribute = GENERATORS[name].partition(":")
    return getattr(import_module(module), attribute)


def _nearest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""
