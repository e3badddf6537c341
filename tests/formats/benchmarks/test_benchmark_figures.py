"""Figures as ratios of sums, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from dreamprm.evaluation.benchmark import intervals
from dreamprm.formats.benchmarks.figures import Figure, mean_of, mean_where, means_by_group


def test_means_by_group() -> None:
    groups = [{"skill": ("a", "b")}, {"skill": ("b",)}, {}]
    figures = means_by_group([1.0, 0.5, 0.0], groups, keys=("skill", "task"))
    assert {name: float(figure.value()) for name, figure in figures.items()} == {
        "accuracy": 0.5,
        "skill/a": 1.0,
        "skill/b": 0.75,
    }


def test_a_mean_over_categories_weighs_them_equally() -> None:
    parts = [mean_where([1, 0, 0, 0], chosen) for chosen in ([1, 0, 0, 0], [0, 1, 1, 1])]
    assert float(mean_of(parts).value()) == 0.5
    # Drawn twice, the first unit does not change its category's mean.
    assert float(mean_of(parts).value([2, 1, 1, 1])) == 0.5


def test_weights_count_units() -> None:
    figure = mean_where([1.0, 0.0, 0.5], [True, True, False])
    np.testing.assert_array_equal(figure.value([[1, 3, 9], [2, 0, 0]]), [0.25, 1.0])
    assert np.isnan(figure.value([0, 0, 1]))


def test_the_interval_of_a_mean() -> None:
    """Of n values half 0 and half 1 the mean's standard error is 0.5 / sqrt(n) = 0.025."""
    values = np.arange(400) % 2
    low, high = intervals({"accuracy": mean_where(values, np.ones(400))}, seed=3, resamples=4000)["accuracy"]
    # The bounds are quantiles of 4,000 draws: their own standard error is about .001.
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.004)


def test_intervals_share_their_draws_and_follow_the_seed() -> None:
    values = np.linspace(0, 1, 50)
    figures = {"a": mean_where(values, np.ones(50)), "b": mean_where(1 - values, np.ones(50))}
    first, again, other = (intervals(figures, seed=seed, resamples=200) for seed in (1, 1, 2))
    assert first == again and first != other
    # b = 1 - a in every draw.
    assert first["b"] == pytest.approx((1 - first["a"][1], 1 - first["a"][0]), abs=1e-12)


def test_a_figure_without_a_value_has_no_interval() -> None:
    figures = {"all": mean_where([1.0, 0.0], [True, True]), "none": mean_where([1.0, 0.0], [False, False])}
    assert set(intervals(figures, seed=0, resamples=50)) == {"all"}


def test_draws_without_a_group_are_left_out() -> None:
    """One of two units is in the group: a quarter of the draws has none of it, and the others all say 1."""
    figures = {"group": mean_where([1.0, 0.0], [True, False])}
    assert intervals(figures, seed=0, resamples=200)["group"] == (1.0, 1.0)


@pytest.mark.parametrize(
    "settings, message",
    [({"resamples": 0}, "resamples must be >= 1, got 0"), ({"level": 1.0}, "level must lie between 0 and 1")],
)
def test_bad_settings(settings, message: str) -> None:
    figure = Figure(((np.ones(3), np.ones(3)),))
    with pytest.raises(ValueError, match=message):
        intervals({"a": figure}, seed=0, **settings)
