"""Bootstrap intervals against theory and against a plain loop over draws."""

import numpy as np
import pytest

from dreamprm.evaluation import bootstrap, bootstrap_interval, paired_bootstrap
from dreamprm.evaluation.bootstrap import (
    Bootstrap,
    Estimate,
    PairedOutcomes,
    QuestionDraws,
    mean_of,
    percentile_interval,
    sums_by_question,
)


def test_means_are_means_of_the_drawn_questions():
    values = np.random.default_rng(0).random((9, 2))
    draws = np.random.default_rng(5).integers(9, size=(40, 9))
    means = QuestionDraws(9, 5, 40).means(values)
    np.testing.assert_allclose(means, values[draws].mean(axis=1), atol=1e-14)


def test_drawing_in_pieces_changes_nothing(monkeypatch):
    values = np.random.default_rng(0).random(9)
    whole = QuestionDraws(9, 5, 40).means(values)
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 27)
    np.testing.assert_allclose(QuestionDraws(9, 5, 40).means(values), whole, atol=1e-14)


def test_interval_matches_the_normal_approximation():
    # 900 coin tosses with 300 heads: standard error sqrt(1/3 * 2/3 / 900) = .01571, so 1/3 -+ 1.96 * .01571.
    values = np.repeat([1.0, 0.0], [300, 600])
    low, high = bootstrap_interval(values, seed=0, resamples=20_000)
    # Tolerance: a quantile of 20,000 draws near 2.5 % has standard error 0.0157 * sqrt(.025*.975/20000)/.0584
    # = 3e-4, and the mean moves in steps of 1/900 = 1.1e-3.
    assert (low, high) == pytest.approx((1 / 3 - 0.0308, 1 / 3 + 0.0308), abs=2e-3)


def test_level_and_seed():
    values = np.random.default_rng(1).random(200)
    low, high = bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) == (low, high) != bootstrap_interval(values, seed=4)
    narrow = bootstrap_interval(values, seed=3, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert percentile_interval(np.arange(101.0), level=0.9) == pytest.approx((5.0, 95.0))


def test_suites_count_equally_and_are_drawn_apart():
    short, long = np.array([1.0, 0.0] * 200), np.array([1.0, 0.0] * 800)
    assert bootstrap_interval([np.ones(3), np.zeros(300)], seed=0) == (0.5, 0.5)
    low, high = bootstrap_interval([short, long], seed=0, resamples=20_000)
    # Variance of the mean of two independent means: (.25/400 + .25/1600) / 4; tolerance as above, 2e-3.
    half = 1.96 * np.sqrt((0.25 / 400 + 0.25 / 1600) / 4)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-3)
    # Two equal suites drawn with the same draws would keep the width of one.
    one = bootstrap_interval(short, seed=0)
    two = bootstrap_interval([short, short], seed=0)
    assert (two[1] - two[0]) / (one[1] - one[0]) == pytest.approx(2**-0.5, abs=0.08)  # 4 quantiles, 2 % each


def test_pairing_removes_what_both_share():
    generator = np.random.default_rng(2)
    hard = generator.random(400)
    a, b = hard + 0.1, hard.copy()
    assert paired_bootstrap(a, b, seed=0) == pytest.approx((0.1, 0.1, 0.1))
    difference, low, high = paired_bootstrap([a, hard], [b, hard], seed=0)
    assert (difference, low, high) == pytest.approx((0.05, 0.05, 0.05))
    noisy = b + generator.normal(0, 0.5, 400)
    difference, low, high = paired_bootstrap(a, noisy, seed=0)
    assert low < difference < high
    assert difference == pytest.approx(a.mean() - noisy.mean())


def test_intervals_hold_the_truth_as_often_as_they_say():
    """300 sets of 150 questions from a known world: difficulties, and two selectors that share them."""
    generator = np.random.default_rng(11)
    held = np.zeros((300, 2), dtype=bool)
    for k in range(300):
        easy = generator.random(150)  # of each question, its chance to be answered; mean 1/2
        base = generator.random(150) < easy
        better = base | (generator.random(150) < 0.2)  # true accuracy 1/2 + 0.2 * 1/2 = 0.6
        low, high = bootstrap_interval(better, seed=k, resamples=400)
        held[k, 0] = low <= 0.6 <= high
        _, low, high = paired_bootstrap(better.astype(float), base.astype(float), seed=k, resamples=400)
        held[k, 1] = low <= 0.1 <= high
    # 95 % of 300, standard error sqrt(.95 * .05 / 300) = 0.0126, 3 of them; the percentile method on 150
    # questions is known to fall about 0.01 short.
    assert held.mean(axis=0) == pytest.approx([0.95, 0.95], abs=0.048)
    # An interval of half the level would be told apart.
    assert (held.mean(axis=0) > 0.9).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bootstrap_interval(np.zeros(0), seed=0), "at least one question"),
        (lambda: bootstrap_interval([], seed=0), "need one value per question"),
        (lambda: bootstrap_interval(np.zeros((3, 2)), seed=0), r"got shapes \[\(3, 2\)\]"),
        (lambda: bootstrap_interval([1.0, float("nan")], seed=0), "must be finite"),
        (lambda: bootstrap_interval([1.0, 0.0], seed=0, level=95), "between 0 and 1, got 95"),
        (lambda: bootstrap_interval([1.0, 0.0], seed=0, resamples=0), "resamples must be >= 1, got 0"),
        (lambda: QuestionDraws(1, 0).means(np.zeros((1, 1, 1))), r"got shape \(1, 1, 1\)"),
        (lambda: QuestionDraws(2, 0).means(np.zeros(3)), r"with 2 questions, got shape \(3,\)"),
        (lambda: paired_bootstrap(np.zeros(3), np.zeros(4), seed=0), r"got shapes \[\(3,\)\] and \[\(4,\)\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sums_and_means_are_of_the_same_samples() -> None:
    values = np.random.default_rng(0).normal(size=(17, 3))
    draws = QuestionDraws(17, (4, 2), 500)
    np.testing.assert_allclose(draws.sums(values) / 17, draws.means(values), atol=1e-14)
    drawn = np.random.default_rng((4, 2)).integers(17, size=(500, 17))
    np.testing.assert_allclose(draws.means(values), values[drawn].mean(axis=1), atol=1e-14)


def test_paired_outcomes_share_their_draws() -> None:
    values = np.random.default_rng(3).random((30, 2))
    outcomes = PairedOutcomes({"a": values[:, 0], "b": values[:, 1]}, Bootstrap(7, 50).draws(30, 2))
    drawn = np.random.default_rng((7, 2)).integers(30, size=(50, 30))
    gain = outcomes["a"] - outcomes["b"]
    assert gain.value == pytest.approx(values[:, 0].mean() - values[:, 1].mean())
    np.testing.assert_allclose(gain.drawn, (values[:, 0] - values[:, 1])[drawn].mean(axis=1), atol=1e-14)
    np.testing.assert_array_equal(outcomes.per_question("b"), values[:, 1])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(QuestionDraws(10, (1,), 50)))
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 70)
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
