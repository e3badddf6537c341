"""The closed form of p_i against what the reasoner does."""

from __future__ import annotations

import random

import pytest

from dreamprm.responses import split_steps
from dreamprm.sandbox.domains import draw_problem, is_right
from dreamprm.sandbox.reasoner import (
    LARGEST_NUMBER,
    NO_ERRORS,
    OTHER_ERRORS,
    TRAINING_ERRORS,
    Errors,
    ScriptedReasoner,
    evidence,
)
from dreamprm.sandbox.scenes import Scene
from dreamprm.sandbox.true_values import true_value

KINDS = pytest.mark.parametrize("errors", [TRAINING_ERRORS, OTHER_ERRORS], ids=["first", "other"])


def _chains(errors: Errors, count: int):
    """(reasoner, problem, steps) of questions of one or two operations."""
    rng = random.Random(1)
    scenes: dict[str, Scene] = {}
    reasoner = ScriptedReasoner(scenes, errors=errors, seed=2)
    for i in range(count):
        problem = draw_problem(rng, f"{i}.png", skills=("bar", "die"), extra=3 * (i % 2))
        scenes[problem.image] = problem.scene
        (completion,) = reasoner.complete(problem.question.text, problem.image, seed=i)
        yield reasoner, problem, split_steps(completion.text)


@KINDS
def test_the_chances_of_all_answers_sum_to_one(errors: Errors) -> None:
    for reasoner, problem, steps in _chains(errors, 6):
        for kept in range(5):
            values = [
                true_value(reasoner, problem.question.text, problem.image, prefix=steps[:kept], answer=answer)
                for answer in range(LARGEST_NUMBER + 1)
            ]
            assert sum(values) == pytest.approx(1.0, abs=1e-12) and min(values) >= 0


@KINDS
def test_rollouts_agree_with_the_closed_form(errors: Errors) -> None:
    n = 2000
    for number, (reasoner, problem, steps) in enumerate(_chains(errors, 6)):
        for kept in (0, 2, 4):
            asked = problem.question.text, problem.image
            value = true_value(reasoner, *asked, prefix=steps[:kept], answer=problem.answer)
            texts = reasoner.complete(*asked, prefix="\n".join(steps[:kept]), n=n, seed=100 + number)
            share = sum(is_right(text.text, problem.answer) for text in texts) / n
            # Four standard errors; where the value is 0 or 1 no rollout may differ.
            assert share == pytest.approx(value, abs=4 * (value * (1 - value) / n) ** 0.5 + 1e-12)


def test_steps_that_claim_nothing_new_change_nothing() -> None:
    for reasoner, problem, steps in _chains(TRAINING_ERRORS, 6):
        asked = problem.question.text, problem.image
        first, second, third, fourth, fifth = (
            true_value(reasoner, *asked, prefix=steps[:kept], answer=problem.answer) for kept in range(5)
        )
        assert first == second and third == fourth  # restating, background
        assert fifth == is_right(steps[4], problem.answer)  # this reasoner's conclusions follow


def test_values_known_by_hand() -> None:
    """A computation slips in 1 of 5 samples, up or down; wrong evidence by one is mended by half of those."""
    scene = Scene("bar", "bar", 3, 4, seed=0)
    slips = Errors(evidence_trap=0, evidence_slip=0, compute_trap=0, compute_slip=0.2)
    asked = "sum of left bar and right bar ?", "a.png"
    for errors, reading, value in (
        (NO_ERRORS, (3, 4), 1.0),
        (NO_ERRORS, (2, 4), 0.0),
        (slips, (3, 4), 0.8),
        (slips, (2, 4), 0.1),
        (slips, (1, 4), 0.0),
    ):
        reasoner = ScriptedReasoner({"a.png": scene}, errors=errors)
        prefix = ("Step 1: find the sum", evidence(*reading))
        assert true_value(reasoner, *asked, prefix=prefix, answer=7) == pytest.approx(value, abs=1e-12)


def test_a_complete_chain_and_an_unknown_image_are_refused() -> None:
    reasoner, problem, steps = next(_chains(TRAINING_ERRORS, 1))
    with pytest.raises(ValueError, match="at most 4 steps, got 5"):
        true_value(reasoner, problem.question.text, problem.image, prefix=steps, answer=1)
    with pytest.raises(ValueError, match="knows no scene for image 'b.png'"):
        true_value(reasoner, problem.question.text, "b.png", prefix=(), answer=1)
