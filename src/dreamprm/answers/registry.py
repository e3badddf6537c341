"""Checkers by name, and from a name with settings to the checker."""

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
"""Checkers with a judge, their field `judge`: `auto` may have one, `judge` needs one."""


def build_checker(name: str, *, judge: Generator | None = None, **settings: Any) -> Checker:
    """The checker of this name (a key of `CHECKERS`) with its settings.

    Args:
        judge: the generator that judges; `judge` needs one, `auto` asks it what no rule decides. The caller
            closes it.
        settings: as `checker_settings(name)` lists them.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a value that the checker refuses,
            a judge that is missing or that the checker has no use for, a library that is not installed.
    """
    check_chosen(CHECKERS, name, settings)
    if judge is None:
        if name == "judge":
            raise UserError("checker 'judge' needs a generator that judges; give one, or take checker 'auto'")
        return CHECKERS.build(name, **settings)
    if name not in JUDGED:
        raise UserError(f"checker {name!r} asks no judge; leave it out, or take one of {', '.join(JUDGED)}")
    return CHECKERS.assemble(name, settings, judge=judge)


checker_settings = CHECKERS.settings
"""`checker_settings(name)`: the settings of a checker with their defaults; its judge is not among them."""
