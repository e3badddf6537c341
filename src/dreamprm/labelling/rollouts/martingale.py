"""What the rollouts of a chain's prefixes say about each other: the values form a martingale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, lgamma
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.labelling.rollouts.base import Tally

Floats = NDArray[np.float64]

# Values are on a grid 0, 1/20, ..., 1: half its spacing is far below the error of 16 rollouts (0.12).
GRID = 20


def stay_setting(**options: Any) -> Any:
    """The declaration of `ChainValues.stay`, shared with the label method that passes it on."""
    return setting(0.1, "probability that a step changes nothing", minimum=0, below=1, **options)


def concentration_setting(**options: Any) -> Any:
    """The declaration of `ChainValues.concentration`."""
    return setting(
        0.25,
        "concentration of the values after a step that changes something: small if steps settle the outcome",
        above=0,
        # Larger values change nothing: the grid keeps the variance above V (1 - V) / 20.
        below=1000,
        advice="use stay for less change",
        **options,
    )


@dataclass(frozen=True)
class ChainValues:
    """The posterior of the values V_1..V_m of a chain's prefixes, given rollouts from each of them.

        V_i = E[V_{i+1} | step_1..step_i],     right_i ~ Binomial(total_i, V_i),     correct ~ Bernoulli(V_m)

    The first equation holds for every generator that wrote the chain itself, because the probability of
    success before a step is the mean of the probabilities after it. How far a step moves the value is an
    assumption: with probability `stay` not at all, otherwise V_{i+1} ~ Beta(c V_i, c (1 - V_i)), whose mean
    is V_i. V_1 is uniform. On the grid, the Beta becomes a beta-binomial share, so that the mean stays exact;
    the posterior then follows from the forward-backward recursion of a hidden Markov model, without
    approximation.

    Neighbouring prefixes inform each other, and the chain's own outcome counts as one more rollout. The
    posterior mean is shrunk: over many steps it has the lowest mean squared error, but on average a label is
    between the true value and what its neighbours suggest. If the chain was written by another generator, or
    was selected for being right or wrong, the first equation does not hold; use shares instead.

    Args:
        stay: the probability that a step changes nothing, in [0, 1).
        concentration: c of the other steps, in (0, 1000): the variance of the value after such a step is
            V (1 - V) (1 + c / 20) / (1 + c), where 20 is the grid's. Small values mean that steps settle the
            outcome.

    Raises:
        ValueError: a setting is out of range.

    Source: the equation is Math-Shepherd's definition of V (arXiv 2312.08935) with the law of total
    expectation; the recursion is Rabiner's (Proceedings of the IEEE 77, 1989), the estimate is ours.
    """

    stay: float = stay_setting()
    concentration: float = concentration_setting()

    def __post_init__(self) -> None:
        check_settings(self)

    def moments(self, tallies: Sequence[Tally], *, correct: bool | None) -> tuple[Floats, Floats]:
        """The posterior mean and variance of each prefix's value.

        Args:
            tallies: one per prefix, in order, at least one; a total of 0 carries no information about its
                prefix.
            correct: whether the chain itself ends right; None ignores its outcome.

        Returns:
            (m,) means in [0, 1] and (m,) variances.
        """
        grid = self._grid
        likelihoods = [_binomial(tally, grid) for tally in tallies]
        # The likelihood of what follows each prefix, up to a constant; computed from the end backwards.
        after = np.ones_like(grid) if correct is None else grid if correct else 1 - grid
        later = [after]
        for likelihood in likelihoods[:0:-1]:
            after = self._moves @ (likelihood * after)
            after = after / after.max()
            later.append(after)
        means, variances = np.empty(len(tallies)), np.empty(len(tallies))
        before = np.full(grid.shape, 1 / grid.size)
        for i, (likelihood, after) in enumerate(zip(likelihoods, reversed(later), strict=True)):
            before = (before if i == 0 else before @ self._moves) * likelihood
            before = before / before.sum()
            posterior = before * after
            posterior = posterior / posterior.sum()
            means[i] = posterior @ grid
            variances[i] = posterior @ (grid - means[i]) ** 2
        return means, variances

    @cached_property
    def _grid(self) -> Floats:
        return np.linspace(0.0, 1.0, GRID + 1)

    @cached_property
    def _moves(self) -> Floats:
        """(values before, values after) transition probabilities of one step; 0 and 1 are absorbing."""
        moves = np.eye(GRID + 1)
        for i in range(1, GRID):
            a = self.concentration * i / GRID
            b = self.concentration - a
            spread = np.array([_beta_binomial(k, a, b) for k in range(GRID + 1)])
            moves[i] = self.stay * moves[i] + (1 - self.stay) * spread / spread.sum()
        return moves


def _beta_binomial(k: int, a: float, b: float) -> float:
    """P(k of GRID) if their common probability is drawn from Beta(a, b); its mean is GRID a / (a + b)."""
    choose = lgamma(GRID + 1) - lgamma(k + 1) - lgamma(GRID - k + 1)
    return exp(
        choose
        + lgamma(k + a)
        + lgamma(GRID - k + b)
        - lgamma(GRID + a + b)
        + lgamma(a + b)
        - lgamma(a)
        - lgamma(b)
    )


def _binomial(tally: Tally, grid: Floats) -> Floats:
    """The likelihood of a tally at each value, scaled to a maximum of 1 so that it does not underflow."""
    wrong = tally.total - tally.right
    with np.errstate(divide="ignore"):
        # 0 * log 0 counts as 0: without rollouts of a kind, no value is excluded.
        log = (tally.right * np.log(grid) if tally.right else 0) + (wrong * np.log1p(-grid) if wrong else 0)
    log = np.broadcast_to(log, grid.shape)
    likelihood: Floats = np.exp(log - log.max())
    return likelihood
