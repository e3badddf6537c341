"""Rank statistics against hand-worked figures and against counting pairs."""

from __future__ import annotations

import numpy as np
import pytest

from dreamprm.data.rank_statistics import auc, average_ranks, spearman, weighted_auc


def test_ties_get_average_ranks():
    assert average_ranks([10, 30, 10, 20]).tolist() == [1.5, 4.0, 1.5, 3.0]


def test_spearman_hand_worked():
    # Without ties rho = 1 - 6 sum d^2 / (n (n^2 - 1)); here d = (1, -1, 0, 0), so 1 - 12 / 60.
    assert spearman([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [-1, -8, -27]) == -1.0
    # Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): covariance 4.5, variances 4.5 and 5.
    assert spearman([0, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 1.0),
        ([4.0, 3.0, 2.0, 1.0], [0, 0, 1, 1], 0.0),
        ([1.0, 1.0, 1.0, 1.0], [0, 1, 0, 1], 0.5),
        ([1.0, 2.0, 3.0], [0, 1, 0], 0.5),
        # pairs (right, wrong): (2, 1) won, (2, 2) tied, (3, 1) won, (3, 2) won -> 3.5 of 4
        ([1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1], 0.875),
    ],
)
def test_auc_by_hand(values: list[float], labels: list[int], expected: float) -> None:
    assert auc(np.array(values), np.array(labels, dtype=bool)) == expected


def test_auc_is_the_share_of_ordered_pairs() -> None:
    generator = np.random.default_rng(0)
    values, labels = generator.integers(0, 6, 60).astype(float), generator.integers(0, 2, 60).astype(bool)
    pairs = np.sign(values[labels][:, None] - values[~labels][None, :])  # (right, wrong)
    assert auc(values, labels) == pytest.approx(float((pairs + 1).mean() / 2), abs=1e-12)


def test_auc_of_extremes() -> None:
    assert auc([3, 2, 1], [True, True, False]) == 1
    assert auc([1, 2, 3], [True, True, False]) == 0
    assert auc([7, 7, 7, 7], [True, False, True, False]) == 0.5
    assert np.isnan(auc([1, 2], [True, True])) and np.isnan(auc([], []))
    # Log-odds whose probabilities are both 1 in float64 are still told apart.
    assert auc([60.0, 50.0], [True, False]) == 1


def test_a_weight_is_a_number_of_copies() -> None:
    generator = np.random.default_rng(1)
    values, labels = generator.integers(0, 4, 20).astype(float), generator.integers(0, 2, 20).astype(bool)
    weights = generator.integers(0, 4, (10, 20))
    copies = [auc(np.repeat(values, row), np.repeat(labels, row)) for row in weights]
    np.testing.assert_allclose(weighted_auc(values, labels, weights.astype(float)), copies, atol=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: spearman([1, 1], [1, 2]), "undefined: all 2 values of x are equal"),
        (lambda: spearman([1, 2], [3, 3]), "all 2 values of y are equal"),
        (lambda: spearman([1, 2], [1, 2, 3]), "got 2 and 3"),
        (lambda: spearman([1], [1]), "at least 2; got 1 and 1"),
        (lambda: spearman([1, float("nan")], [1, 2]), "with 1 NaN"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
