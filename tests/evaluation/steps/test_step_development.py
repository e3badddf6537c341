"""The development set: what it is, and that no counted question is in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scored_records import random_steps

from dreamprm.config.errors import DataError, UserError
from dreamprm.evaluation.steps import ScoredSteps
from dreamprm.evaluation.steps.development import joined, other_records, set_subset_apart, split_questions


def shifted(steps: ScoredSteps, by: int) -> ScoredSteps:
    """The same records of other questions."""
    return dataclasses.replace(steps, questions=steps.questions + np.uint64(by))


def test_a_split_keeps_all_records_of_a_question_together() -> None:
    subsets = {"a": random_steps(0, 300, questions=100), "b": random_steps(1, 150, questions=75)}
    parts = split_questions(subsets, fraction=0.3, seed=5)
    assert parts.development is not None and parts.apart is None
    development = set(parts.development.questions.tolist())
    for name, test in parts.test.items():
        assert not development & set(test.questions.tolist())
        assert set(test.questions.tolist()) | development >= set(subsets[name].questions.tolist())
    assert len(parts.development) + sum(map(len, parts.test.values())) == 450
    # A binomial share: 100 questions at .3 are between 15 and 45 but for one time in a thousand.
    assert 15 <= len(development) <= 45
    # Question 0..74 are in both subsets, and on the same side.
    in_a = set(parts.test["a"].questions.tolist()) & set(range(75))
    assert in_a == set(parts.test["b"].questions.tolist())


def test_a_split_follows_from_seed_and_question_alone() -> None:
    steps = random_steps(0, 60)
    reordered = steps.select(np.ones(60, dtype=bool))
    one = split_questions({"a": steps}, fraction=0.5, seed=1).test["a"]
    half = split_questions({"a": reordered.select(np.arange(60) % 2 == 0)}, fraction=0.5, seed=1).test["a"]
    assert set(half.ids) == {name for name in one.ids if int(name[1:]) % 2 == 0}
    other = split_questions({"a": steps}, fraction=0.5, seed=2).test["a"]
    assert set(other.ids) != set(one.ids)


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "development"), (1 - 1e-9, "test")])
def test_a_split_with_nothing_on_one_side_is_refused(fraction: float, side: str) -> None:
    with pytest.raises(UserError, match=f"falls on the {side} side"):
        split_questions({"a": random_steps(0, 10)}, fraction=fraction, seed=0)


def test_a_subset_apart_shares_no_question() -> None:
    steps = random_steps(0, 10)
    parts = set_subset_apart({"a": steps, "b": shifted(steps, 100)}, "a")
    assert parts.apart == "a" and parts.development is steps and list(parts.test) == ["a", "b"]
    with pytest.raises(
        DataError, match=r"1 records of b have questions that are also in the development set a.*r0"
    ):
        set_subset_apart({"a": steps, "b": shifted(steps, 9)}, "a")


def test_another_file_shares_no_question() -> None:
    steps = random_steps(0, 10)
    parts = other_records({"a": steps}, shifted(steps, 100), "dev.jsonl")
    assert parts.test["a"] is steps and parts.development is not None
    with pytest.raises(
        DataError, match="10 records of a have questions that are also in the development set dev.jsonl"
    ):
        other_records({"a": steps}, steps, "dev.jsonl")


def test_selecting_and_joining_are_inverse() -> None:
    steps = random_steps(4, 30)
    first = np.arange(30) < 11
    whole = joined([steps.select(first), steps.select(~first)])
    assert whole.ids == steps.ids and whole.soft is False
    for name in ("questions", "offsets", "labels", "rollouts", "right", "first_error"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(steps, name))
    np.testing.assert_array_equal(whole.log_odds["s"], steps.log_odds["s"])
    assert whole.offsets.dtype == np.int64
