"""Rank correlation against hand-worked figures."""

import numpy as np
import pytest

from dreamprm.evaluation import spearman, weight_summary
from dreamprm.evaluation.ranking import average_ranks


def test_ties_get_average_ranks():
    assert average_ranks([10, 30, 10, 20]).tolist() == [1.5, 4.0, 1.5, 3.0]


def test_spearman_hand_worked():
    # Without ties rho = 1 - 6 sum d^2 / (n (n^2 - 1)); here d = (1, -1, 0, 0), so 1 - 12 / 60.
    assert spearman([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [-1, -8, -27]) == -1.0
    # Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): covariance 4.5, variances 4.5 and 5.
    assert spearman([0, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_weight_summary():
    quality = {"clean": 1.0, "fair": 0.5, "noisy": 0.4, "flipped": 0.1}
    weights = {"clean": 2.0, "fair": 1.0, "noisy": 0.6, "flipped": 0.4}
    assert weight_summary(weights, quality) == {"spearman": 1.0, "weight_ratio": pytest.approx(3.0)}


def test_undefined_figures_are_absent():
    assert weight_summary({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.0}) == {"weight_ratio": 1.0}
    assert weight_summary({"a": 1.0, "b": 2.0}, {"a": 0.7, "b": 0.9}) == {"spearman": 1.0}
    assert weight_summary({"a": 1.0, "b": 0.0}, {"a": 0.9, "b": 0.1}) == {"spearman": 1.0}
    assert weight_summary({"a": 1.0}, {"a": 0.9}) == {}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: spearman([1, 1], [1, 2]), "undefined: all 2 values of x are equal"),
        (lambda: spearman([1, 2], [3, 3]), "all 2 values of y are equal"),
        (lambda: spearman([1, 2], [1, 2, 3]), "got 2 and 3"),
        (lambda: spearman([1], [1]), "at least 2; got 1 and 1"),
        (lambda: spearman([1, float("nan")], [1, 2]), "with 1 NaN"),
        (lambda: weight_summary({"a": 1.0, "b": 1.0}, {"a": 1.0}), "only in one of them: b"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
