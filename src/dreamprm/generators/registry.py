"""Generators by name, and from a name with settings to the generator."""

from __future__ import annotations

from dreamprm.config.strategies import Registry
from dreamprm.generators.base import Generator

GENERATORS: Registry[Generator] = Registry(
    "generator",
    {
        "openai": "dreamprm.generators.openai:OpenAIGenerator",
        "transformers": "dreamprm.generators.transformers:TransformersGenerator",
        "sandbox": "dreamprm.sandbox.generator:SandboxGenerator",
    },
)
"""Generators by name; the libraries behind them are optional, and imported on use."""

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


build_generator = GENERATORS.build
"""`build_generator(name, **settings)`: the generator of this name (`Registry.build`); a UserError also where
its library is not installed."""

generator_settings = GENERATORS.settings
"""`generator_settings(name)`: the settings of a generator with their defaults."""
