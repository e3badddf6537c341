"""Checkers by name, and how to build one from a name and its settings."""

from __future__ import annotations

from typing import Any

from dreamprm.answers.base import Checker
from dreamprm.config.checking import check_chosen
from dreamprm.config.errors import UserError
from dreamprm.config.strategies import Registry
from dreamprm.generators.base import Generator

CHECKERS: Registry[Checker] = Registry(
    "checker",
    {
        "auto": "dreamprm.answers.auto:AutoChecker",
        "choice": "dreamprm.answers.choice:ChoiceChecker",
        "numeric": "dreamprm.answers.numeric:NumericChecker",
        "symbolic": "dreamprm.answers.symbolic:SymbolicChecker",
        "text": "dreamprm.answers.text:TextChecker",
        "judge": "dreamprm.answers.judge:JudgeChecker",
    },
)
"""Checkers by name."""

JUDGED = ("auto", "judge")
"""Checkers with a judge (the field `judge`): optional for `auto`, required for `judge`."""


def build_checker(name: str, *, judge: Generator | None = None, **settings: Any) -> Checker:
    """The checker of this name (a key of `CHECKERS`) with its settings.

    Args:
        judge: the generator that judges; `judge` needs one, `auto` asks it about answers that no rule
            decides. The caller closes it.
        settings: as listed by `checker_settings(name)`.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a value that the checker rejects,
            a judge that is missing or not used by the checker, or a library that is not installed.
    """
    check_chosen(CHECKERS, name, settings)
    if judge is None:
        if name == "judge":
            raise UserError("checker 'judge' needs a generator that judges; give one, or use checker 'auto'")
        return CHECKERS.build(name, **settings)
    if name not in JUDGED:
        raise UserError(f"checker {name!r} uses no judge; leave it out, or use one of {', '.join(JUDGED)}")
    return CHECKERS.assemble(name, settings, judge=judge)


checker_settings = CHECKERS.settings
"""`checker_settings(name)`: a checker's settings with their defaults; the judge is not one of them."""
