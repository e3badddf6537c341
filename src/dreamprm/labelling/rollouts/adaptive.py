"""Rollouts where they lower the error most: few at first, more while a prefix is open."""

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
    """Few rollouts first, then one by one where each lowers the expected error most, while that is enough.

    Every prefix gets `initial` rollouts. Then a round hands out up to as many rollouts as there are prefixes,
    each to the open prefix whose standard error it lowers most:

        gain(k) = s(k) - s(k + 1),    1 / s(k)^2 = 1 / v + k / (p (1 - p)),    k: given in this round already

    with p and v the mean and variance of what is known of the prefix's value. A prefix is open while its
    Wilson interval is wide (half of it exceeds `half_width`), undecided (it holds `threshold`, where one is
    set) and it has had fewer than `maximum` rollouts. It ends when no open prefix has a gain above
    `least_gain`, or the chain's budget is spent.

    Use it where rollouts are what labelling costs and the chains are the generator's own. It takes a few
    rounds one after the other, so that one chain takes longer though all of them cost less.

    Args:
        initial: rollouts from every prefix, >= 1.
        budget: the most a chain may cost, in rollouts as a mean over its prefixes, >= initial. 8 is never
            dearer than `full`.
        maximum: the most from one prefix, >= initial.
        least_gain: by how much one more rollout must lower a standard error to be worth it, >= 0. It sets
            the mean cost: the default takes 4.6 rollouts a step on the sandbox, fewer where outcomes are
            clear. 0 leaves it to the budget.
        half_width: half the Wilson interval at which a prefix is known well enough, in (0, 0.5); 0.2 ends it
            after 6 rollouts that agree. Who wants a lower error than the default's lowers it too.
        z: standard errors of that interval; 1.96 for 95 %.
        threshold: in (0, 1), where only the side on which p_i lies matters (hard labels); None where its
            value does.
        estimate: what becomes the label. `martingale`: the posterior mean of `ChainValues`, which uses the
            other prefixes and the chain's own end too. Its mean absolute error is much the lower, but it is
            shrunk, and takes the chain for the generator's own. `share`: right / total of the prefix alone,
            for chains of another generator. Stopping when rollouts agree biases it towards 0 and 1.
        stay, concentration: of `ChainValues`; they serve `martingale` alone.

    Figures on error, cost and bias are in experiments/results/rollouts.md.

    Raises:
        ValueError: a setting out of range.

    Source: the interval is Wilson's (1927); spending by expected gain and the estimate are ours.
    """

    initial: int = setting(2, "rollouts from every prefix, before any choice", minimum=1)
    budget: float = setting(
        8.0, "the most a chain may cost, in rollouts as a mean over its prefixes; >= initial", above=0
    )
    maximum: int = setting(16, "the most rollouts from one prefix; >= initial", minimum=1)
    least_gain: float = setting(
        0.0067,
        "by how much one more rollout must lower a prefix's standard error to be worth it; 0 leaves it to "
        "the budget",
        minimum=0,
    )
    half_width: float = setting(
        0.2, "half the Wilson interval at which a prefix is known well enough", above=0, below=0.5
    )
    z: float = setting(
        1.96, "standard errors of that interval", above=0, advice="1.96 gives an interval of 95 %"
    )
    threshold: float | None = setting(
        None,
        "where only the side of it on which p_i lies matters (hard labels): stop once that is decided; null: "
        "the value matters",
        above=0,
        below=1,
    )
    estimate: str = setting(
        "martingale",
        "the label: a posterior mean that uses the whole chain, for the generator's own chains; or the "
        "prefix's own share right / total, for those of another",
        choices=ESTIMATES,
    )
    stay: float = stay_setting(when={"estimate": ("martingale",)})
    concentration: float = concentration_setting(when={"estimate": ("martingale",)})

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("budget", "maximum"):
            if getattr(self, name) < self.initial:
                raise ValueError(
                    f"{name} must be >= initial={self.initial}, which every prefix gets; got "
                    f"{getattr(self, name)}"
                )

    @property
    def takes_chains_for_own(self) -> bool:
        """With estimate="martingale"."""
        return self.estimate == "martingale"

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        """See `LabelMethod.plan`. A prefix none of whose rollouts counts is not labelled.

        Raises:
            ValueError: prefixes is negative.
        """
        check_prefixes(prefixes)
        return self._rounds(prefixes, correct)

    def _rounds(self, prefixes: int, correct: bool | None) -> Plan:
        if not prefixes:
            return []
        tallies, asked = [Tally(0, 0)] * prefixes, [0] * prefixes
        # Rounding must not lose a rollout: 8.2 * 15 is a little below 123.
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
        """How the next `rollouts` are given to the prefixes; fewer, or none, where no more are worth it."""
        means, variances = self._moments(tallies, correct)
        # p (1 - p), of one rollout; bounded, or an estimate of 0 or 1 would take it to tell everything.
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
        """What is known of each prefix's value: (m,) means and (m,) variances."""
        if self.estimate == "martingale":
            return self._values.moments(tallies, correct=correct)
        # Jeffreys' posterior, Beta(right + 1/2, wrong + 1/2): its variance is not 0 where all agree.
        right = np.array([tally.right for tally in tallies], dtype=np.float64)
        total = np.array([tally.total for tally in tallies], dtype=np.float64)
        means = (right + 0.5) / (total + 1)
        return means, means * (1 - means) / (total + 2)

    @cached_property
    def _values(self) -> ChainValues:
        return ChainValues(self.stay, self.concentration)


def _gain(variance: float, noise: float, count: int) -> float:
    """How much rollout number count + 1 lowers the standard error of a value.

    Rounded, so that two prefixes of which the same is known tie whatever the machine's last digit, and a plan
    repeated elsewhere asks for the same.
    """
    if variance <= 0.0:
        return 0.0
    now, then = (1 / sqrt(1 / variance + k / noise) for k in (count, count + 1))
    return round(now - then, 9)


def wilson_interval(right: int, total: int, *, z: float = 1.96) -> tuple[float, float]:
    """The values p that a share right/total does not contradict at z standard errors.

        (f + z^2 / 2n -+ z sqrt(f (1 - f) / n + z^2 / 4n^2)) / (1 + z^2 / n),    f = right / total, n = total

    These are the two p with |f - p| = z sqrt(p (1 - p) / n). Unlike f -+ z sqrt(f (1 - f) / n) it stays in
    [0, 1] and is not of width 0 when all rollouts agree, which is what few rollouts often do.

    Args:
        right: how many rollouts ended right, 0 <= right <= total.
        total: of how many; of none nothing is known, and the interval is (0, 1).
        z: how many standard errors, > 0; 1.96 for 95 %.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: counts or z out of range.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not 0 <= right <= total:
        raise ValueError(f"right must be 0 to total={total}, got {right}")
    if not z > 0:
        raise ValueError(f"z must be > 0, got {z}; 1.96 gives an interval of 95 %")
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = share + z * z / (2 * total)
    reach = z * sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    # All alike, the far end is exactly 0 or 1; rounding must not carry it past that.
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
