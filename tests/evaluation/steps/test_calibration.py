"""Calibration: closed forms, a scorer calibrated by construction, and one that is wrong by a known amount."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scored_records import record, steps_of

from dreamprm.evaluation.bootstrap import QuestionDraws
from dreamprm.evaluation.steps import ScoredSteps
from dreamprm.evaluation.steps.calibration import (
    BINNINGS,
    Labelled,
    base_rate_brier,
    brier,
    ece_if_calibrated,
    inner_edges,
    probabilities,
    reliability,
)


def labelled(probability: np.ndarray, label: np.ndarray, *, resamples: int = 50) -> Labelled:
    """Steps of which each is a question of its own."""
    n = len(probability)
    draws = QuestionDraws(n, (0,), resamples)
    return Labelled(probability, label, np.ones(n, dtype=np.int64), np.arange(n), draws)


def calibrated(n: int, seed: int = 0) -> Labelled:
    generator = np.random.default_rng(seed)
    probability = generator.uniform(size=n)
    return labelled(probability, (generator.uniform(size=n) < probability).astype(float))


def test_sigmoid_without_overflow() -> None:
    got = probabilities(np.array([-800.0, -2.0, 0.0, 2.0, 800.0]))
    np.testing.assert_allclose(got, [0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1], rtol=1e-15)


def test_ece_and_brier_of_a_case_worked_out_by_hand() -> None:
    # Two bins of equal width: {.1, .3} with labels 0, 1 and {.6, .8, .9} with labels 0, 1, 1.
    data = labelled(np.array([0.1, 0.3, 0.6, 0.8, 0.9]), np.array([0.0, 1, 0, 1, 1]))
    curve = reliability(data, bins=2, binning="equal_width", level=0.9)
    assert curve.steps.tolist() == [2, 3]
    np.testing.assert_allclose(curve.probability, [0.2, 2.3 / 3], rtol=1e-15)
    np.testing.assert_allclose(curve.label, [0.5, 2 / 3], rtol=1e-15)
    assert curve.ece.value == pytest.approx((2 * 0.3 + 3 * 0.1) / 5, abs=1e-15)
    assert brier(data).value == pytest.approx((0.01 + 0.49 + 0.36 + 0.04 + 0.01) / 5, abs=1e-15)
    assert base_rate_brier(data) == pytest.approx(0.6 * 0.4, abs=1e-15)


def test_edges_of_bins() -> None:
    values = np.array([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(inner_edges(values, 5, "equal_width"), [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_array_equal(inner_edges(values, 3, "equal_mass"), [0.2, 0.9])
    # A probability of 1 is in the last bin, one on an edge in the bin above it.
    curve = reliability(labelled(values, values), bins=5, binning="equal_width", level=0.9)
    assert curve.steps.tolist() == [2, 1, 1, 2]  # [0, .2), [.2, .4), [.4, .6), nothing, [.8, 1]
    assert curve.ece.value == 0


def test_equal_values_share_a_bin_of_equal_mass() -> None:
    probability = np.array([0.2] * 7 + [0.6] * 3)
    label = np.array([1.0, 0, 0, 0, 0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(inner_edges(probability, 5, "equal_mass"), [0.2, 0.6])
    for order in (np.arange(10), np.arange(10)[::-1]):
        data = labelled(probability[order], label[order])
        curve = reliability(data, bins=5, binning="equal_mass", level=0.9)
        assert curve.steps.tolist() == [7, 3]
        assert curve.ece.value == pytest.approx(0.7 * abs(1 / 7 - 0.2) + 0.3 * abs(2 / 3 - 0.6), abs=1e-15)


@pytest.mark.parametrize("binning", BINNINGS)
def test_the_ece_of_a_calibrated_scorer_tends_to_zero(binning: str) -> None:
    """|mean label - mean p| of a bin of m steps has the mean sqrt(2 v / (pi m)), v = mean p (1 - p) there."""
    for n in (500, 20_000):
        data = dataclasses.replace(calibrated(n), draws=QuestionDraws(n, (0,), 2))
        place = np.minimum((10 * data.probability).astype(int), 9)
        expected = sum(
            np.sqrt(2 / np.pi * (data.probability * (1 - data.probability))[place == b].sum()) / n
            for b in range(10)
        )
        curve = reliability(data, bins=10, binning=binning, level=0.9)
        # The sum of ten half-normal terms: its deviation is about a quarter of its mean.
        assert curve.ece.value == pytest.approx(expected, rel=0.75)
        assert curve.ece.value < 4 / np.sqrt(n)
        chance = ece_if_calibrated(data, bins=10, binning=binning, seed=1, level=0.95)
        assert chance is not None
        assert chance["mean"] == pytest.approx(expected, rel=0.1) and curve.ece.value < chance["high"]


@pytest.mark.parametrize("binning", BINNINGS)
def test_the_ece_of_a_scorer_that_is_off_by_a_known_amount(binning: str) -> None:
    data = dataclasses.replace(calibrated(20_000), draws=QuestionDraws(20_000, (0,), 2))
    off = dataclasses.replace(data, probability=0.5 + data.probability / 2)
    curve = reliability(off, bins=10, binning=binning, level=0.9)
    # |p/2 + 1/2 - p| = (1 - p) / 2, whose mean is 1/4; the labels' noise is 1 / sqrt(12 n) = 0.002.
    assert curve.ece.value == pytest.approx(0.25, abs=0.01)
    assert brier(off).value == pytest.approx(1 / 6 + 1 / 12, abs=0.01)  # E[p (1 - p)] + E[(1 - p)^2] / 4
    chance = ece_if_calibrated(off, bins=10, binning=binning, seed=1, level=0.95)
    assert chance is not None and chance["high"] < 0.02


def test_soft_labels_count_by_their_means() -> None:
    log_odds = [0.0, 0.0, np.log(3), np.log(3)]
    steps = ScoredSteps.of([record([0.25, 0.75, 0.5, 1.0], log_odds, rollouts=[4, 4, 8, 8])])
    data = Labelled.of(steps, "s", "all", QuestionDraws(1, (0,), 10))
    curve = reliability(data, bins=10, binning="equal_width", level=0.9)
    assert curve.steps.tolist() == [2, 2] and curve.ece.value == pytest.approx(0, abs=1e-15)
    assert brier(data).value == pytest.approx(1 / 16, abs=1e-15)
    assert data.rollouts.tolist() == [4, 4, 8, 8]
    # More rollouts, less chance.
    few = ece_if_calibrated(data, bins=10, binning="equal_width", seed=0, level=0.95)
    many = dataclasses.replace(data, rollouts=100 * data.rollouts)
    more = ece_if_calibrated(many, bins=10, binning="equal_width", seed=0, level=0.95)
    assert few is not None and more is not None
    assert more["mean"] == pytest.approx(few["mean"] / 10, rel=0.3)  # binomial spread: 1 / sqrt(100)
    unknown = ScoredSteps.of([record([0.25, 0.75], [0, 0], rollouts=[4, None])])
    data = Labelled.of(unknown, "s", "all", QuestionDraws(1, (0,), 10))
    assert ece_if_calibrated(data, bins=10, binning="equal_width", seed=0, level=0.95) is None


def test_steps_without_labels_do_not_count() -> None:
    steps = steps_of(([1, None, 0], [0.0, 5.0, -0.0]), ([None], [3.0]))
    data = Labelled.of(steps, "s", "all", QuestionDraws(2, (0,), 10))
    assert len(data) == 2 and brier(data).value == 0.25
    nothing = Labelled.of(steps, "s", "up_to_first_error", QuestionDraws(2, (0,), 10))
    assert len(nothing) == 0 and np.isnan(brier(nothing).value) and np.isnan(base_rate_brier(nothing))


def test_intervals_of_a_bin_hold_its_label() -> None:
    curve = reliability(calibrated(500), bins=10, binning="equal_mass", level=0.95)
    assert curve.steps.tolist() == [50] * 10
    assert (curve.low <= curve.label).all() and (curve.label <= curve.high).all()
    # Standard error of a mean of 50 labels: at most .07.
    assert (curve.high - curve.low).max() < 4 * 0.0708 * 1.2


def test_a_judgement_counts_as_one_rollout() -> None:
    data = Labelled.of(steps_of(([1, 0], [0, 0])), "s", "all", QuestionDraws(1, (0,), 10))
    assert data.rollouts.tolist() == [1, 1]
    # Two labels of a coin: their mean is .5 half of the time, else .5 off.
    chance = ece_if_calibrated(data, bins=1, binning="equal_width", seed=0, level=0.95)
    assert chance is not None and chance["high"] == 0.5
    assert chance["mean"] == pytest.approx(0.25, abs=0.06)  # its deviation over 200 draws is .018
