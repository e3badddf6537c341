"""Responses that no person writes: every checker stays quick, and none fails."""

import time

import pytest
from answer_questions import question

from dreamprm.answers import build_checker

QUESTIONS = [
    question("B", options=("a red ball", "a blue ball", "2")),
    question("5"),
    question("Paris"),
]
TEXTS = [
    "a" * 50_000,
    "- " * 20_000,
    "\\boxed{" * 5_000,
    "\\text{" * 5_000,
    "{" * 50_000,
    "1 " * 20_000,
    "1," * 20_000,
    "the answer is " * 1_500,
    "(A) " * 9_000,
    "$" * 50_000,
    "**" * 10_000,
    "= " * 9_000,
    "\\frac" * 4_000,
    "not " * 5_000,
    "\\boxed{" + "\\text{" * 3_000 + "}" * 3_001,
    "\\boxed{" + "9" * 15_000 + "}",
    "\\boxed{" + " " * 15_000 + "x}",
    "\\boxed{" + "1,234," * 3_000 + "}",
    "\\boxed{1+" + "1+" * 7_000 + "1}",
    "\\boxed{" + "( " * 8_000 + "x}",
]


@pytest.mark.parametrize("name", ["choice", "numeric", "text"])
def test_no_response_takes_long_or_fails(name):
    checker = build_checker(name)
    for text in TEXTS:
        for asked in QUESTIONS[:1] if name == "choice" else QUESTIONS:
            start = time.perf_counter()
            assert checker.check(text, asked).verdict in ("wrong", "undecided"), text[:30]
            # 0.1 s on a free core; a pattern that backtracks takes minutes.
            assert time.perf_counter() - start < 5, text[:30]
