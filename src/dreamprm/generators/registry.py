"""Generators by name, and from a name with settings to the generator."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.config.strategies import build, strategy_settings
from dreamprm.generators.base import Generator

GENERATORS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "dreamprm.generators.openai:OpenAIGenerator",
        "transformers": "dreamprm.generators.transformers:TransformersGenerator",
        "sandbox": "dreamprm.sandbox.generator:SandboxGenerator",
    }
)
"""`module:class` by name; each class is a dataclass whose init fields are its settings. Imported on use: the
libraries behind them are optional, and slow to import."""

SERVING = (
    "base_url",
    "api_key_env",
    "concurrency",
    "timeout",
    "retries",
    "backoff",
    "longest_wait",
    "samples_per_request",
    "token_limit",
    "device",
    "batch_size",
    "together",
)
"""Settings of generators that say how requests are served, not what is asked: a run that goes on may have
others."""


def build_generator(name: str, **settings: Any) -> Generator:
    """The generator of this name (a key of `GENERATORS`) with its settings.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a setting that must be given, or a
            value that the generator refuses; a library that is not installed.
    """
    generator: Generator = build("generator", name, GENERATORS, settings)
    return generator


def generator_settings(name: str) -> dict[str, Any]:
    """The settings of a generator with their defaults; `dataclasses.MISSING` where one must be given.

    Raises:
        UserError: an unknown name.
    """
    return strategy_settings("generator", name, GENERATORS)
