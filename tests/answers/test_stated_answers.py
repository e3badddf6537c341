"""From a whole response to the answer that it states."""

import time

import pytest

from dreamprm.answers import Stated, stated_answer

STATED = [
    ("Step 1: look.\nFinal answer: B", "B", "final answer"),
    ("Reasoning.\n### Final Answer\n\n42", "42", "final answer"),
    ("So $x = \\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}", "boxed"),
    ("It is \\boxed{\\{1, 2\\}}", "\\{1, 2\\}", "boxed"),
    ("It is \\fbox{7}", "7", "boxed"),
    ("The answer is 2.5 cm. That is all", "2.5 cm", "answer is"),
    ("Hence the correct option is (C).", "(C)", "answer is"),
    ("The correct answer would be option (B)", "(B)", "answer is"),
    ("The correct answer choice is therefore A.", "A", "answer is"),
    ("Think.\n**Answer:** 12", "12", "answer is"),
    ("Think.\nAnswer: 5 cm. This is because it is", "5 cm", "answer is"),
    ("Therefore, the answer is:\n\n$$\n5\n$$", "5", "answer is"),
    ("We add.\n#### 42", "42", "answer is"),
    ("<think>7?</think><answer> 8 </answer>", "8", "answer is"),
    ("Correct answer is D", "D", "answer is"),
    ("9", "9", "whole response"),
    ("The ball is red.", "The ball is red.", "whole response"),
    ("First we look.\nThe ball is large. The ball is red.", "The ball is red.", "last line"),
]


@pytest.mark.parametrize("response, text, how", STATED)
def test_each_mark_of_an_answer(response, text, how):
    assert stated_answer(response) == Stated(text, how)


LAST = [
    ("The answer is 5. No: the answer is 6.", "6"),
    ("\\boxed{3} was a slip.\nThe answer is: 4", "4"),
    ("The answer is (D).\n\n\\boxed{E}", "E"),
    ("Final answer: 3\nWait.\nFinal answer: 4", "4"),
    ("The answer is 7.\nFinal answer: 8", "8"),
    ("Final answer: The answer is (C) because it fits.", "(C) because it fits"),
    ("**Final Answer**\nThe final answer is $\\boxed{10}$. I hope it is correct.", "10"),
    ("Final answer: B\n(Otherwise the answer is found by adding.)", "B"),
    ("\\boxed{3}. In general the answer is determined so.", "3"),
    ("The answer is a square.", "a square"),
    ("The answer is a square. The answer is found so.", "a square"),
    ("$a=\\boxed{1}=\\boxed{\\textbf{(C) } 2}$", "\\textbf{(C) } 2"),
]


@pytest.mark.parametrize("response, text", LAST)
def test_the_answer_that_begins_last_counts(response, text):
    stated = stated_answer(response)
    assert stated is not None and stated.text == text


def test_boxes_side_by_side_are_one_answer():
    assert stated_answer("$x=\\boxed{2}$ or $x=\\boxed{3}$") == Stated("2, 3", "boxed")
    # ... and boxes of different sentences are not
    assert stated_answer("\\boxed{2} is the width. The area is \\boxed{3}") == Stated("3", "boxed")


@pytest.mark.parametrize(
    "response",
    [
        "the answer is not clear from this picture, which shows several things at once.",
        "The answer is based on what the picture shows, which is not much when you look.",
        "The options are listed in the question, and an answer depends on the picture there.",
        "We write \\boxed{} and \\boxed{?} where nothing is known, as everybody does in such cases.",
        "It is cut off before it is closed, here: \\boxed{\\frac{1}{2}, as a response may well be.",
    ],
)
def test_what_states_no_answer(response):
    stated = stated_answer(response)
    assert stated is not None and stated.how == "last line" and not stated.marked


@pytest.mark.parametrize("response", ["", "  \n\t\n"])
def test_an_empty_response_states_none(response):
    assert stated_answer(response) is None


@pytest.mark.parametrize(
    "text",
    [
        "a" * 50_000,
        "- " * 25_000,
        "\\boxed{" * 8_000,
        "the answer is " * 4_000,
        "{" * 50_000,
        " \n" * 25_000,
        "\\boxed{1} " * 5_000,
        "final answer " * 4_000,
        "$" * 50_000,
        "A. " * 20_000,
        "**" * 25_000,
    ],
)
def test_no_response_takes_long(text):
    start = time.perf_counter()
    stated_answer(text)
    # The slowest takes 0.2 s on a free core; a pattern that backtracks takes minutes.
    assert time.perf_counter() - start < 10
