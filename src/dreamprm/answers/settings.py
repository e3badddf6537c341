"""Settings of how answers are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import open_settings, section, setting
from dreamprm.generators.settings import JudgeSettings


@dataclass
class AnswerSettings:
    """What counts as a right answer."""

    kind: str = setting(
        "auto", "how answers are compared; auto: told from each question's options, answer_type and answer"
    )
    undecided: str = setting(
        "wrong",
        "a response whose answer cannot be read or compared counts as wrong, or is left out of the labels",
        choices=("wrong", "leave_out"),
    )
    judge: JudgeSettings = section(JudgeSettings)
    settings: dict[str, Any] = open_settings(
        "the named kind's own settings, written beside kind:",
        registry="dreamprm.answers:CHECKERS",
        named_by="kind",
    )
