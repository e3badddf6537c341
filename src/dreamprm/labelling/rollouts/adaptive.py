"""Spends rollouts where they lower the error most: few at first, more while a prefix is open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.labelling.rollouts.base import Ask, LabelMethod, Plan, StepLabel, Tally, check_prefixes
from dreamprm.labelling.rollouts.martingale import ChainValues, Floats, concentration_setting, stay_setting

ESTIMATES = ("martingale", "share")


@dataclass(frozen=True)
class Adaptive(LabelMethod):
    """Few rollouts first, then more, each where it lowers the expected error most, as long as it is worth it.

    Every prefix gets `initial` rollouts. Each further round allocates at most as many rollouts as there are
    prefixes, each to the open prefix whose standard error it lowers most:

        gain(k) = s(k) - s(k + 1),    1 / s(k)^2 = 1 / v + k / (p (1 - p)),    k: already given in this round

    where p and v are the posterior mean and variance of the prefix's value. A prefix is open while its Wilson
    interval is wide (half its width exceeds `half_width`) and undecided (it contains `threshold`, if one is
    set), and it has had fewer than `maximum` rollouts. The method ends when no open prefix has a gain above
    `least_gain`, or when the chain's budget is spent.

    Use it if rollouts dominate the cost of labelling and the chains are the generator's own. It takes several
    rounds in sequence, so that a single chain takes longer although the total cost is lower.

    Args:
        initial: rollouts from every prefix, >= 1.
        budget: maximum cost of a chain, in rollouts per prefix on average, >= initial. 8 never costs more
            than `full`.
        maximum: maximum number of rollouts from one prefix, >= initial.
        least_gain: by how much one more rollout must lower a standard error to be worth it, >= 0. It
            determines the mean cost: with the default it is 4.6 rollouts per step on the sandbox, and less
            if outcomes are clear. With 0, only the budget limits the cost.
        half_width: half the width of the Wilson interval at which a prefix is known well enough, in (0, 0.5);
            with 0.2, a prefix is closed after 6 rollouts that agree. Lower it as well if you want a lower
            error than the default's.
        z: half the width of that interval in standard errors; 1.96 for 95 %.
        threshold: in (0, 1), if it only matters on which side of it p_i is (hard labels); None if the value
            of p_i matters.
        estimate: what becomes the label. `martingale`: the posterior mean of `ChainValues`, which also uses
            the other prefixes and the chain's own outcome. Its mean absolute error is much lower, but it is
            shrunk, and it assumes that the chain is the generator's own. `share`: right / total of the prefix
            alone, for chains of another generator. Stopping when rollouts agree biases it towards 0 and 1.
        stay, concentration: as in `ChainValues`; only used with `martingale`.

    Figures on error, cost and bias are in experiments/results/rollouts.md.

    Raises:
        ValueError: a setting is out of range.

    Source: the interval is Wilson's (1927); spending by expected gain and the estimate are ours.
    """

    initial: int = setting(2, "initial rollouts from every prefix", minimum=1)
    budget: float = setting(
        8.0, "maximum cost of a chain, in rollouts per prefix on average; >= initial", above=0
    )
    maximum: int = setting(16, "maximum number of rollouts from one prefix; >= initial", minimum=1)
    least_gain: float = setting(
        0.0067,
        "by how much one more rollout must lower a prefix's standard error to be worth it; 0: only the "
        "budget limits the cost",
        minimum=0,
    )
    half_width: float = setting(
        0.2,
        "half the width of the Wilson interval at which a prefix is well known",
        above=0,
        below=0.5,
    )
    z: float = setting(
        1.96,
        "half the width of that interval in standard errors",
        above=0,
        advice="1.96 gives an interval of 95 %",
    )
    threshold: float | None = setting(
        None,
        "for hard labels: stop once it is decided on which side of this value p_i is; null: the value of "
        "p_i matters",
        above=0,
        below=1,
    )
    estimate: str = setting(
        "martingale",
        "martingale: a posterior mean that uses the whole chain, for the generator's own chains; share: the "
        "prefix's own share right / total, for chains of another generator",
        choices=ESTIMATES,
    )
    stay: float = stay_setting(when={"estimate": ("martingale",)})
    concentration: float = concentration_setting(when={"estimate": ("martingale",)})

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("budget", "maximum"):
            if getattr(self, name) < self.initial:
                raise ValueError(
                    f"{name} must be >= initial={self.initial}, the rollouts that every prefix gets; got "
                    f"{getattr(self, name)}"
                )

    @property
    def takes_chains_for_own(self) -> bool:
        """With estimate="martingale"."""
        return self.estimate == "martingale"

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        """See `LabelMethod.plan`. A prefix gets no label if none of its rollouts counts.

        Raises:
            ValueError: prefixes is negative.
        """
        check_prefixes(prefixes)
        return self._rounds(prefixes, correct)

    def _rounds(self, prefixes: int, correct: bool | None) -> Plan:
        if not prefixes:
            return []
        tallies, asked = [Tally(0, 0)] * prefixes, [0] * prefixes
        # Rounding must not lose a rollout: 8.2 * 15 is slightly below 123.
        left = int(self.budget * prefixes + 1e-9)
        counts = [self.initial] * prefixes
        while any(counts):
            chosen = [i for i, count in enumerate(counts) if count]
            brought = yield [Ask(i + 1, counts[i]) for i in chosen]
            for i, tally in zip(chosen, brought, strict=True):
                tallies[i] = Tally(tallies[i].right + tally.right, tallies[i].total + tally.total)
                asked[i] += counts[i]
            left -= sum(counts)
            counts = self._share_out(min(left, prefixes), tallies, asked, correct)
        if self.estimate == "share":
            labels = [tally.right / tally.total if tally.total else None for tally in tallies]
        else:
            means, _ = self._moments(tallies, correct)
            labels = [float(p) if tally.total else None for p, tally in zip(means, tallies, strict=True)]
        return [StepLabel(p, tally.total) for p, tally in zip(labels, tallies, strict=True)]

    def _share_out(
        self,
        rollouts: int,
        tallies: list[Tally],
        asked: list[int],
        correct: bool | None,
    ) -> list[int]:
        """How the next `rollouts` are allocated to the prefixes; fewer, or none, if no more are worth it."""
        means, variances = self._moments(tallies, correct)
        # p (1 - p), the variance of one rollout; bounded below, because at an estimate of 0 or 1 a single
        # rollout would seem to settle everything.
        noise = np.maximum(means * (1 - means), 0.02)
        is_open = [self._is_open(tally) for tally in tallies]
        counts = [0] * len(tallies)
        for _ in range(rollouts):
            gains = [
                _gain(variances[i], noise[i], count)
                if is_open[i] and asked[i] + count < self.maximum
                else 0.0
                for i, count in enumerate(counts)
            ]
            best = max(range(len(gains)), key=gains.__getitem__)
            if gains[best] <= self.least_gain:
                break
            counts[best] += 1
        return counts

    def _is_open(self, tally: Tally) -> bool:
        low, high = wilson_interval(tally.right, tally.total, z=self.z)
        wide = (high - low) / 2 > self.half_width
        return wide and (self.threshold is None or low <= self.threshold <= high)

    def _moments(self, tallies: list[Tally], correct: bool | None) -> tuple[Floats, Floats]:
        """The posterior of each prefix's value: (m,) means and (m,) variances."""
        if self.estimate == "martingale":
            return self._values.moments(tallies, correct=correct)
        # Jeffreys' posterior, Beta(right + 1/2, wrong + 1/2): its variance is not 0 if all agree.
        right = np.array([tally.right for tally in tallies], dtype=np.float64)
        total = np.array([tally.total for tally in tallies], dtype=np.float64)
        means = (right + 0.5) / (total + 1)
        return means, means * (1 - means) / (total + 2)

    @cached_property
    def _values(self) -> ChainValues:
        return ChainValues(self.stay, self.concentration)


def _gain(variance: float, noise: float, count: int) -> float:
    """How much rollout number count + 1 lowers the standard error of a value.

    Rounded, so that prefixes with equal posteriors tie despite floating-point error, and a plan replayed on
    another machine asks for the same rollouts.
    """
    if variance <= 0.0:
        return 0.0
    now, then = (1 / sqrt(1 / variance + k / noise) for k in (count, count + 1))
    return round(now - then, 9)


def wilson_interval(right: int, total: int, *, z: float = 1.96) -> tuple[float, float]:
    """The values p that are compatible with a share right/total at z standard errors.

        (f + z^2 / 2n -+ z sqrt(f (1 - f) / n + z^2 / 4n^2)) / (1 + z^2 / n),    f = right / total, n = total

    These are the two p with |f - p| = z sqrt(p (1 - p) / n). Unlike f -+ z sqrt(f (1 - f) / n), it stays in
    [0, 1] and does not have width 0 when all rollouts agree, as a small number of rollouts often do.

    Args:
        right: how many rollouts ended right, 0 <= right <= total.
        total: number of rollouts; with 0, nothing is known, and the interval is (0, 1).
        z: number of standard errors, > 0; 1.96 for 95 %.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: the counts or z are out of range.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not 0 <= right <= total:
        raise ValueError(f"right must be between 0 and total={total}, got {right}")
    if not z > 0:
        raise ValueError(f"z must be > 0, got {z}; 1.96 gives an interval of 95 %")
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = share + z * z / (2 * total)
    reach = z * sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    # If all rollouts agree, one end is exactly 0 or 1; rounding must not carry it beyond.
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
