"""What the rollouts of one chain's prefixes say of each other: its values are a martingale."""

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

# Values are kept on a grid 0, 1/20, ..., 1: half its spacing is far below the error of 16 rollouts (0.12).
GRID = 20


def stay_setting(**options: Any) -> Any:
    """The declaration of `ChainValues.stay`, for the label method that hands it over too."""
    return setting(0.1, "chance that a step changes nothing", minimum=0, below=1, **options)


def concentration_setting(**options: Any) -> Any:
    """The declaration of `ChainValues.concentration`."""
    return setting(
        0.25,
        "of the values after a step that changes something: small for steps that settle the outcome",
        above=0,
        # Beyond that nothing changes: the grid keeps the variance above V (1 - V) / 20.
        below=1000,
        advice="use stay for less change",
        **options,
    )


@dataclass(frozen=True)
class ChainValues:
    """The posterior of the values V_1..V_m of a chain's prefixes, given rollouts from each of them.

        V_i = E[V_{i+1} | step_1..step_i],     right_i ~ Binomial(total_i, V_i),     correct ~ Bernoulli(V_m)

    The first holds for every generator that wrote the chain itself, as the chance of success before a step
    is the mean of the chances after it. How far a step moves the value is assumed: with probability `stay`
    not at all, else V_{i+1} ~ Beta(c V_i, c (1 - V_i)), whose mean is V_i. V_1 is uniform. On the grid the
    Beta becomes a beta-binomial share, so that the mean stays exact; the posterior is then the forward and
    backward recursion of a hidden Markov model, without approximation.

    Neighbours lend each other strength, and the chain's own end counts as a rollout, which it is. The
    posterior mean is shrunk: over many steps, the mean square error is least, but a label lies on average
    between the truth and what its neighbours suggest. Where the chain is another generator's, or was chosen
    for being right or wrong, the first equation does not hold and shares are the honest estimate.

    Args:
        stay: the chance that a step changes nothing, in [0, 1).
        concentration: c of the other steps, in (0, 1000): the value's variance after one is
            V (1 - V) (1 + c / 20) / (1 + c), with the grid's 20. Small values mean steps that settle the
            outcome.

    Raises:
        ValueError: a setting out of range.

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
            tallies: of the prefixes in order, at least one; a total of 0 says nothing of its own prefix.
            correct: whether the chain itself ends right; None leaves its end out.

        Returns:
            (m,) means in [0, 1] and (m,) variances.
        """
        grid = self._grid
        likelihoods = [_binomial(tally, grid) for tally in tallies]
        # What follows a prefix says of its value, up to a constant; from the end backwards.
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
        """(values before, values after) probabilities of one step; 0 and 1 are never left."""
        moves = np.eye(GRID + 1)
        for i in range(1, GRID):
            a = self.concentration * i / GRID
            b = self.concentration - a
            spread = np.array([_beta_binomial(k, a, b) for k in range(GRID + 1)])
            moves[i] = self.stay * moves[i] + (1 - self.stay) * spread / spread.sum()
        return moves


def _beta_binomial(k: int, a: float, b: float) -> float:
    """P(k of GRID) where the chance of each is drawn once from Beta(a, b); its mean is GRID a / (a + b)."""
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
    """The likelihood of a tally at each value, its largest 1, so that many rollouts do not underflow."""
    wrong = tally.total - tally.right
    with np.errstate(divide="ignore"):
        # 0 * log 0 counts as 0: no rollout of a kind excludes nothing.
        log = (tally.right * np.log(grid) if tally.right else 0) + (wrong * np.log1p(-grid) if wrong else 0)
    log = np.broadcast_to(log, grid.shape)
    likelihood: Floats = np.exp(log - log.max())
    return likelihood
