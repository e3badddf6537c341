"""Questions: what they say, what their answer is, and reading them back."""

from __future__ import annotations

import itertools

import pytest

from dreamprm.sandbox.scene_questions import OPERATIONS, Question, apply, parse_question
from dreamprm.sandbox.scenes import SKILLS, VALUES, Scene


@pytest.mark.parametrize("extra", [-4, -1, 0, 1, 4])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_question_is_read_back_from_any_prompt(operation: str, extra: int) -> None:
    for left, right in itertools.product(SKILLS, SKILLS):
        question = Question.about(Scene(left, right, 1, 2, seed=0), operation, extra)
        assert (question.left_noun, question.right_noun) == (left, right)
        assert parse_question(question.text) == question
        assert parse_question(f"Look at the image.\n{question.text}\nAnswer in five steps.") == question


@pytest.mark.parametrize(
    "operation, results",
    [
        ("sum", {(2, 5): 7, (5, 2): 7, (6, 6): 12}),
        ("difference", {(2, 5): 3, (5, 2): 3, (4, 4): 0}),
        ("maximum", {(2, 5): 5, (5, 2): 5, (3, 3): 3}),
    ],
)
def test_operations(operation: str, results: dict[tuple[int, int], int]) -> None:
    for (left, right), result in results.items():
        assert apply(operation, left, right) == result
        assert Question(operation, "bar", "bar", extra=-2).answer(left, right) == result - 2


def test_texts() -> None:
    assert Question("sum", "bar", "die").text == "sum of left bar and right die ?"
    assert Question("maximum", "bar", "die", 3).text == "maximum of left bar and right die plus 3 ?"
    assert Question("difference", "bar", "die", -1).text == "difference of left bar and right die minus 1 ?"


@pytest.mark.parametrize("prompt", ["", "how many bars ?", "sum of left bar and right ?"])
def test_another_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="no sandbox question in the prompt"):
        parse_question(prompt)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="operation must be one of sum, difference, maximum, got 'product'"):
        apply("product", *VALUES[:2])
