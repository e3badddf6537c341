"""Bootstrap samples of questions."""

from __future__ import annotations

import numpy as np
import pytest

from dreamprm.evaluation.intervals import resampled_means
from dreamprm.evaluation.steps import resampling
from dreamprm.evaluation.steps.resampling import Estimate, QuestionDraws, mean_of, sums_by_question


def test_the_same_samples_as_of_means_over_questions() -> None:
    values = np.random.default_rng(0).normal(size=(17, 3))
    got = QuestionDraws(17, (4, 2), 500).sums(values) / 17
    np.testing.assert_allclose(got, resampled_means(values, seed=(4, 2), resamples=500), atol=1e-14)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(QuestionDraws(10, (1,), 50)))
    monkeypatch.setattr(resampling, "_COUNTS_AT_ONCE", 70)
    blocks = list(QuestionDraws(10, (1,), 50))
    assert [len(block) for block in blocks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(axis=1) == 10).all()


@pytest.mark.parametrize(("questions", "resamples"), [(0, 10), (10, 0)])
def test_no_question_or_no_sample_is_refused(questions: int, resamples: int) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        QuestionDraws(questions, (0,), resamples)


def test_sums_by_question() -> None:
    values = np.array([[1.0, 10], [2, 20], [4, 40]])
    got = sums_by_question(values, np.array([1, 0, 1]), 3)
    np.testing.assert_array_equal(got, [[2, 20], [5, 50], [0, 0]])


def test_undefined_samples_are_told_and_do_not_count() -> None:
    drawn = np.array([np.nan, 1.0, 2.0, 3.0])
    got = Estimate(2.0, drawn).to_json(0.5)
    assert got == {"value": 2.0, "low": 1.5, "high": 2.5, "undefined_resamples": 1}
    nowhere = Estimate(2.0, np.full(3, np.nan)).to_json(0.5)
    assert nowhere == {"value": 2.0, "low": None, "high": None, "undefined_resamples": 3}
    assert Estimate(float("nan"), drawn).to_json(0.5) is None


def test_differences_are_paired_and_means_are_over_subsets() -> None:
    one, other = Estimate(0.5, np.array([0.4, 0.6])), Estimate(0.25, np.array([0.2, 0.4]))
    assert (one - other).value == 0.25
    np.testing.assert_allclose((one - other).drawn, [0.2, 0.2])
    assert mean_of([one, other]).value == 0.375
    np.testing.assert_allclose(mean_of([one, other]).drawn, [0.3, 0.5])
