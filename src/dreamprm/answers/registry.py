"""Checkers by name, and from a name with settings to the checker."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.answers.base import Checker
from dreamprm.config.errors import UserError
from dreamprm.config.strategies import build, require_settings, strategy_settings
from dreamprm.generators.base import Generator

CHECKERS: Mapping[str, str] = MappingProxyType(
    {
        "auto": "dreamprm.answers.auto:AutoChecker",
        "choice": "dreamprm.answers.choice:ChoiceChecker",
        "numeric": "dreamprm.answers.numeric:NumericChecker",
        "symbolic": "dreamprm.answers.symbolic:SymbolicChecker",
        "text": "dreamprm.answers.text:TextChecker",
        "judge": "dreamprm.answers.judge:JudgeChecker",
    }
)
"""`module:class` by name; each class is a dataclass whose init fields are its settings."""

_JUDGE_FIELD = {"auto": "judge", "judge": "generator"}


def build_checker(name: str, *, judge: Generator | None = None, **settings: Any) -> Checker:
    """The checker of this name (a key of `CHECKERS`) with its settings.

    Args:
        judge: the generator that judges; `judge` needs one, `auto` asks it what no rule decides. The caller
            closes it.
        settings: fields of the checker's class.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a value that the checker refuses,
            a judge that is missing or that the checker has no use for, a library that is not installed.
    """
    require_settings(f"checker {name!r}", settings, checker_settings(name))
    if judge is not None:
        if name not in _JUDGE_FIELD:
            raise UserError(
                f"checker {name!r} asks no judge; leave it out, or take one of {', '.join(_JUDGE_FIELD)}"
            )
        settings[_JUDGE_FIELD[name]] = judge
    elif name == "judge":
        raise UserError("checker 'judge' needs a generator that judges; give one, or take checker 'auto'")
    checker: Checker = build("checker", name, CHECKERS, settings)
    return checker


def checker_settings(name: str) -> dict[str, Any]:
    """The settings of a checker with their defaults, without its judge.

    Raises:
        UserError: an unknown name.
    """
    own = strategy_settings("checker", name, CHECKERS)
    own.pop(_JUDGE_FIELD.get(name, ""), None)
    return own
