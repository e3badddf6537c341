"""Answer checkers, one file per kind: right, wrong or undecided, and what was read as the answer."""

from dreamprm.answers.base import Checker, Judgement, Verdict
from dreamprm.answers.concurrency import check_all
from dreamprm.answers.registry import CHECKERS, build_checker, checker_settings
from dreamprm.responses import Stated, stated_answer

__all__ = [
    "CHECKERS",
    "Checker",
    "Judgement",
    "Stated",
    "Verdict",
    "build_checker",
    "check_all",
    "checker_settings",
    "stated_answer",
]
