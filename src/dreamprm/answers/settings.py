"""Settings of how answers are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import open_settings, section, setting
from dreamprm.generators.settings import JudgeSettings


@dataclass
class JudgedAnswers:
    """How answers are judged."""

    kind: str = setting(
        "auto",
        "how answers are compared; auto: inferred from each question's options, answer_type and answer",
    )
    judge: JudgeSettings = section(JudgeSettings, when={"kind": ("auto", "judge")})
    settings: dict[str, Any] = open_settings(
        "the named kind's own settings, written next to kind:",
        registry="dreamprm.answers:CHECKERS",
        named_by="kind",
    )

    def check(self) -> None:
        """Require a judge if answers are judged by one."""
        if self.kind == "judge" and self.judge.name is None:
            raise ValueError("kind=judge needs judge.name (and its settings)")


@dataclass
class AnswerSettings(JudgedAnswers):
    """What counts as a right answer."""

    undecided: str = setting(
        "wrong",
        "whether a response whose answer cannot be read or compared counts as wrong or is left out of the "
        "labels",
        choices=("wrong", "leave_out"),
    )
