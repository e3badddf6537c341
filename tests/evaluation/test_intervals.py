"""Bootstrap intervals against theory and against a plain loop over draws."""

import numpy as np
import pytest

from dreamprm.evaluation import bootstrap_interval, intervals, paired_bootstrap
from dreamprm.evaluation.intervals import percentile_interval, resampled_means


def test_resampled_means_are_means_of_the_drawn_questions():
    values = np.random.default_rng(0).random((9, 2))
    draws = np.random.default_rng(5).integers(9, size=(40, 9))
    means = resampled_means(values, seed=5, resamples=40)
    np.testing.assert_allclose(means, values[draws].mean(axis=1), atol=1e-14)


def test_drawing_in_pieces_changes_nothing(monkeypatch):
    values = np.random.default_rng(0).random(9)
    whole = resampled_means(values, seed=5, resamples=40)
    monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", 27)
    np.testing.assert_allclose(resampled_means(values, seed=5, resamples=40), whole, atol=1e-14)


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
        (lambda: bootstrap_interval(np.zeros(0), seed=0), "a question at least"),
        (lambda: bootstrap_interval([], seed=0), "need one value a question"),
        (lambda: bootstrap_interval(np.zeros((3, 2)), seed=0), r"got shapes \[\(3, 2\)\]"),
        (lambda: bootstrap_interval([1.0, float("nan")], seed=0), "must be finite"),
        (lambda: bootstrap_interval([1.0, 0.0], seed=0, level=95), "between 0 and 1, got 95"),
        (lambda: bootstrap_interval([1.0, 0.0], seed=0, resamples=0), "resamples must be >= 1, got 0"),
        (lambda: resampled_means(np.zeros((1, 1, 1)), seed=0), r"got shape \(1, 1, 1\)"),
        (lambda: paired_bootstrap(np.zeros(3), np.zeros(4), seed=0), r"got shapes \[\(3,\)\] and \[\(4,\)\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
