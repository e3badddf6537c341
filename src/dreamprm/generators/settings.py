"""Settings of whoever writes texts: the generator of a command, and the judge of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import REQUIRED, open_settings, setting


@dataclass
class GeneratorSettings:
    """Who writes the chains of thought."""

    name: str = setting(
        REQUIRED,
        "openai: any server with that interface; transformers: a checkpoint in this process; sandbox",
    )
    temperature: float = setting(1.0, "of the sampling", minimum=0)
    max_tokens: int = setting(1024, "longest completion in tokens", minimum=1)
    stop: list[str] = setting([], "texts that end a completion")
    settings: dict[str, Any] = open_settings(
        "the named generator's own settings, written beside name:", registry="dreamprm.generators:GENERATORS"
    )

    def check(self) -> None:
        """Texts can be drawn like this (see `dreamprm.generators.base.Sampling`)."""
        from dreamprm.generators.base import Sampling

        Sampling(self.temperature, self.max_tokens, tuple(self.stop))


@dataclass
class JudgeSettings:
    """A language model that judges open answers (answers.kind=judge)."""

    name: str | None = setting(None, "the judge's generator, as generator.name; null: there is no judge")
    settings: dict[str, Any] = open_settings(
        "the named generator's own settings, written beside name:", registry="dreamprm.generators:GENERATORS"
    )
