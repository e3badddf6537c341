"""Settings of what writes texts: a command's generator, and the judge of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import REQUIRED, open_settings, setting


@dataclass
class GeneratorSettings:
    """What writes the chains of thought."""

    name: str = setting(
        REQUIRED,
        "openai: any server with that interface; transformers: a checkpoint run in this process; sandbox: "
        "the generated world's scripted reasoner",
    )
    temperature: float = setting(1.0, "sampling temperature", minimum=0)
    max_tokens: int = setting(1024, "longest completion in tokens", minimum=1)
    stop: list[str] = setting([], "texts that end a completion")
    settings: dict[str, Any] = open_settings(
        "the named generator's own settings, written next to name:",
        registry="dreamprm.generators:GENERATORS",
    )

    def check(self) -> None:
        """Validate the sampling (see `dreamprm.generators.base.Sampling`)."""
        from dreamprm.generators.base import Sampling

        Sampling(self.temperature, self.max_tokens, tuple(self.stop))


@dataclass
class JudgeSettings:
    """A language model that judges open answers (answers.kind=judge)."""

    name: str | None = setting(None, "the judge's generator, as in generator.name; null: no judge")
    settings: dict[str, Any] = open_settings(
        "the named generator's own settings, written next to name:",
        registry="dreamprm.generators:GENERATORS",
    )
