"""Answers in words."""

import pytest
from answer_questions import question

from dreamprm.answers import build_checker
from dreamprm.answers.text import normalised

CHECKER = build_checker("text")


@pytest.mark.parametrize(
    "one, other",
    [
        ("The Red Ball!", "red ball"),
        ("A square", "square"),
        ("twenty-one dogs", "21 dogs"),
        ("salt & pepper", "salt, pepper"),
        ("\\text{March}", "march"),
        ("2 \\pi", "$2\\pi$"),
        ("well-known", "well known"),
        ("a + b", "a+b"),
        ("\uff21\uff22", "ab"),
        ("P and N", "$P$, $N$"),
        ("8: 5", "8:5"),
        ("yes.", "Yes"),
    ],
)
def test_these_are_the_same(one, other):
    assert normalised(one) == normalised(other) != ""


@pytest.mark.parametrize(
    "one, other",
    [
        ("1.5", "15"),
        ("1:2", "12"),
        ("-5", "5"),
        ("a-1", "a 1"),
        ("x<2", "x>2"),
        ("red", "read"),
        ("A", ""),
        ("3/4", "34"),
        ("5%", "5"),
    ],
)
def test_these_are_not(one, other):
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    "response, answer, expected",
    [
        ("Final answer: the Eiffel Tower", "Eiffel tower", "right"),
        ("\\boxed{\\text{Paris}}", "paris", "right"),
        ("Final answer: London", "Paris", "wrong"),
        ("Final answer: Paris, France", "Paris", "undecided"),
        ("Final answer: no", "no change", "undecided"),
        ("Final answer: notable", "no", "wrong"),
        ("It is in France.\nI think of Paris.", "Paris", "undecided"),
        ("Well.\nParis.", "Paris", "right"),
        ("", "Paris", "undecided"),
        ("Final answer: No, because it is larger", "no", "right"),
        ("Final answer: Yes, it is", "No", "wrong"),
        ("We see it.\nNo, it is not.", "no", "undecided"),
        ("Final answer: Nothing", "no", "wrong"),
        ("Final answer: B, A", "A, B", "wrong"),
    ],
)
def test_text(response, answer, expected):
    assert CHECKER.check(response, question(answer)).verdict == expected
