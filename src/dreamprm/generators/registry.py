"""Generators by name, and how to build one from a name and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dreamprm.config.strategies import Registry
from dreamprm.files.content import FileDigests
from dreamprm.generators.base import Generator

GENERATORS: Registry[Generator] = Registry(
    "generator",
    {
        "openai": "dreamprm.generators.openai:OpenAIGenerator",
        "transformers": "dreamprm.generators.transformers:TransformersGenerator",
        "sandbox": "dreamprm.sandbox.generator:SandboxGenerator",
    },
)
"""Generators by name; the libraries behind them are optional and imported on first use."""

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
"""Settings of how requests are served, not of what is asked: they may change when a run is resumed."""


build_generator = GENERATORS.build
"""`build_generator(name, **settings)`: the generator of this name (`Registry.build`). It also raises a
UserError if the generator's library is not installed."""

generator_settings = GENERATORS.settings
"""`generator_settings(name)`: a generator's settings with their defaults."""


def generator_identity(
    name: str, settings: Mapping[str, Any], generator: Generator, digests: FileDigests
) -> dict[str, Any]:
    """Who a reply is from, as JSON values: equal if and only if the same requests get the same replies.

    Settings at their defaults are left out, so that a setting that a later version adds changes nothing;
    those that name files are replaced by what the files hold (`Generator.contents`).
    """
    defaults = generator_settings(name)
    set_here = {
        key: value
        for key, value in settings.items()
        if key not in SERVING and (key not in defaults or value != defaults[key])
    }
    return {"generator": name, **set_here, **generator.contents(digests)}
