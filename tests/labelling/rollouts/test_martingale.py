"""The posterior of a chain's values: closed forms, and all paths of a short chain."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from dreamprm.labelling.rollouts import Tally
from dreamprm.labelling.rollouts.martingale import GRID, ChainValues

NOTHING = Tally(0, 0)


def _alone(right: int, total: int) -> tuple[float, float]:
    """Mean and variance of a uniform grid value after these rollouts, in exact arithmetic."""
    grid = [Fraction(i, GRID) for i in range(GRID + 1)]
    weights = [v**right * (1 - v) ** (total - right) for v in grid]
    mean = sum(w * v for w, v in zip(weights, grid)) / sum(weights)
    square = sum(w * v * v for w, v in zip(weights, grid)) / sum(weights)
    return float(mean), float(square - mean * mean)


@pytest.mark.parametrize("right, total", [(0, 0), (0, 2), (3, 8), (8, 8), (20, 60)])
def test_a_single_prefix_is_the_uniform_posterior(right: int, total: int) -> None:
    means, variances = ChainValues().moments([Tally(right, total)], correct=None)
    assert (means[0], variances[0]) == pytest.approx(_alone(right, total), abs=1e-12)


@pytest.mark.parametrize("stay, concentration", [(0.0, 0.5), (0.2, 0.5), (0.7, 4.0)])
def test_what_the_first_prefix_tells_carries_on_unchanged(stay: float, concentration: float) -> None:
    """E[V_i | data on V_1] = E[V_1 | data on V_1]: the values are a martingale, on the grid too."""
    chain = [Tally(5, 6), NOTHING, NOTHING, NOTHING]
    means, variances = ChainValues(stay, concentration).moments(chain, correct=None)
    assert means == pytest.approx(_alone(5, 6)[0], abs=1e-12)
    assert np.all(np.diff(variances) > 0)  # but what it becomes is less and less certain


@pytest.mark.parametrize("correct", [True, False])
def test_the_chains_own_end_is_one_rollout_of_every_prefix(correct: bool) -> None:
    """P(right | V_i) = V_i, however many steps follow."""
    for later in range(4):
        chain = [Tally(2, 5)] + [NOTHING] * later
        means, variances = ChainValues().moments(chain, correct=correct)
        assert (means[0], variances[0]) == pytest.approx(_alone(2 + correct, 6), abs=1e-12)


def test_one_step_spreads_a_value_as_stated() -> None:
    """Var V_2 = Var V_1 + (1 - stay) E[variance of the beta-binomial share]."""
    stay, c = 0.3, 1.5
    _, variances = ChainValues(stay, c).moments([NOTHING, NOTHING], correct=None)
    grid = np.arange(GRID + 1) / GRID
    spread = np.mean(grid * (1 - grid)) * (1 + c / GRID) / (1 + c)
    assert variances == pytest.approx([np.var(grid), np.var(grid) + (1 - stay) * spread], abs=1e-12)


def test_steps_that_change_nothing_pool_all_rollouts() -> None:
    means, _ = ChainValues(stay=1 - 1e-12).moments([Tally(1, 3), Tally(3, 3), Tally(2, 4)], correct=None)
    assert means == pytest.approx(_alone(6, 10)[0], abs=1e-8)  # stay = 1 but for 1e-12, times 1e3 or so


@pytest.mark.parametrize("correct", [True, False, None])
def test_the_recursion_sums_over_all_paths(correct: bool | None) -> None:
    values = ChainValues(0.25, 0.8)
    tallies = [Tally(2, 3), Tally(1, 1), Tally(0, 4)]
    grid = np.arange(GRID + 1) / GRID
    total, means = 0.0, np.zeros(3)
    for path in itertools.product(range(GRID + 1), repeat=3):
        v = grid[list(path)]
        weight = values._moves[path[0], path[1]] * values._moves[path[1], path[2]]
        for tally, value in zip(tallies, v):
            weight *= value**tally.right * (1 - value) ** (tally.total - tally.right)
        weight *= 1 if correct is None else v[2] if correct else 1 - v[2]
        total += weight
        means += weight * v
    assert values.moments(tallies, correct=correct)[0] == pytest.approx(means / total, abs=1e-12)


def test_many_rollouts_do_not_underflow() -> None:
    means, variances = ChainValues().moments([Tally(3000, 10_000), Tally(0, 10_000)], correct=False)
    assert means == pytest.approx([0.3, 0.0], abs=1e-6) and variances == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize(
    "stay, concentration, message",
    [
        (1.0, 0.5, "stay must be >= 0 and < 1, got 1.0"),
        (-0.1, 0.5, "got -0.1"),
        (0.2, 0.0, "concentration must be > 0 and < 1000, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(stay: float, concentration: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainValues(stay, concentration)
