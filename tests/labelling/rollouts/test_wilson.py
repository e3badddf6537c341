"""The Wilson interval against published values and its own definition."""

from __future__ import annotations

import pytest

from dreamprm.labelling.rollouts.adaptive import wilson_interval


@pytest.mark.parametrize(
    "right, total, low, high",
    [
        # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(right: int, total: int, low: float, high: float) -> None:
    # Printed with four decimals.
    assert wilson_interval(right, total, z=1.959964) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("right, total, z", [(3, 8, 1.0), (1, 2, 1.96), (7, 8, 2.5)])
def test_the_ends_are_z_standard_errors_away(right: int, total: int, z: float) -> None:
    for end in wilson_interval(right, total, z=z):
        assert abs(right / total - end) == pytest.approx(z * (end * (1 - end) / total) ** 0.5, abs=1e-12)


def test_rollouts_that_agree_leave_an_interval_with_one_certain_end() -> None:
    low, high = wilson_interval(0, 6, z=2.0)
    assert (low, high) == (0.0, pytest.approx(4 / 10))  # z^2 / (n + z^2)
    assert wilson_interval(6, 6, z=2.0) == (pytest.approx(6 / 10), 1.0)


def test_nothing_is_known_without_rollouts() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "right, total, z, message",
    [
        (3, 2, 1.0, "must be between 0 and total=2, got 3"),
        (-1, 2, 1.0, "got -1"),
        (1, 2, 0.0, "z must be > 0"),
    ],
)
def test_impossible_counts_are_refused(right: int, total: int, z: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wilson_interval(right, total, z=z)
