"""Checkers of answers, one file a kind: right, wrong or undecided, and what was read as the answer."""

from dreamprm.answers.base import Checker, Judgement, Verdict

__all__ = ["Checker", "Judgement", "Verdict"]
