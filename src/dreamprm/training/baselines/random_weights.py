"""Random weights: as far from uniform as learned ones, but assigned to domains at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.training.baselines.base import UpperLevel, Weighting
from dreamprm.training.baselines.fixed_weights import for_domains, past_weights, staying


@dataclass(frozen=True)
class RandomWeights(Weighting):
    """Fixed weights drawn with the run's seed: another run's in random order, or with a given spread.

    Use it to see whether learned weights are worth more than any weights with the same spread. Use several
    seeds: a single order may be a lucky one.

    Args:
        run: folder of a run with the same domains, whose last weights are randomly permuted (so their spread
            is exactly that of the learned ones). None: `spread` decides.
        spread: standard deviation of the weights over the domains, > 0. w_k = K softmax(s z)_k with z
            standard normal and s chosen to give this spread. The default is the spread of the weights that
            the paper reports, 0.55 to about 1.5.

    Raises:
        ValueError: a spread that is not positive.
        UserError: in `upper_level`, no such run, one with other domains, or a spread that is too large for
            the number of domains.

    Source: the range of learned weights, DreamPRM, arXiv 2505.20241.
    """

    run: str | None = setting(
        None,
        "folder of a run with the same domains, whose last weights are randomly permuted; null: spread "
        "decides",
    )
    spread: float = setting(
        0.25, "standard deviation of the weights over the domains", above=0, when={"run": (None,)}
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """The drawn weights, which stay fixed."""
        del prm
        generator = np.random.default_rng(seed)
        if self.run is not None:
            values = np.array(for_domains(past_weights(self.run, take="last"), domains, run=self.run))
            return staying(domains, generator.permutation(values).tolist())
        return staying(domains, of_spread(generator.standard_normal(len(domains)), self.spread))


def of_spread(normal: np.ndarray, spread: float) -> list[float]:
    """K softmax(s z), with s such that the standard deviation (over K, not K - 1) is `spread`; mean 1.

    Args:
        normal: z, `(K,)`.

    Raises:
        UserError: a single domain, whose weight is always 1; or a spread of sqrt(K - 1) or more, which
            positive weights with mean 1 cannot have.
    """
    count = len(normal)
    most = float(np.sqrt(count - 1))
    if spread >= most:
        raise UserError(
            f"baseline random_weights: spread={spread:g} is too large for {count} domain"
            f"{'s' if count > 1 else ''}: positive weights with mean 1 stay below {most:.3g}"
        )

    def weights(scale: float) -> np.ndarray:
        exponents = scale * (normal - normal.max())
        return np.asarray(count * np.exp(exponents) / np.exp(exponents).sum())

    # The spread grows with the scale, from 0 to sqrt(K - 1): bisect an interval that contains it.
    low, high = 0.0, 1.0
    while weights(high).std() < spread:
        high *= 2
    while high - low > 1e-15 * high and (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if weights(middle).std() < spread else (low, middle)
    return [float(value) for value in weights(high)]
