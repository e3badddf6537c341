"""Whether probabilities mean what they say: reliability curves, expected calibration error, Brier score.

    ECE   = sum_b (n_b / n) |mean label of bin b - mean probability of bin b|
    Brier = mean over steps of (p_i - label_i)^2

Labels are 0 or 1, or Monte-Carlo estimates in [0, 1], whose bin means estimate the same thing. Sources: ECE
with bins of equal width, Guo et al., arXiv 1706.04599; with bins of equal mass, Nixon et al., arXiv
1904.01685. ECE is biased upwards: a perfectly calibrated scorer has one above 0 on a finite sample, the more
so the more bins there are. `ece_if_calibrated` says how much (Vaicenavicius et al., arXiv 1902.06977). The
bootstrap interval has the same bias: it says how far the figure moves, not that calibration is imperfect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamprm.evaluation.bootstrap import (
    Estimate,
    Floats,
    Integers,
    QuestionDraws,
    percentile_interval,
    ratio,
    sums_by_question,
)
from dreamprm.evaluation.steps.scored_steps import ScoredSteps

BINNINGS = ("equal_width", "equal_mass")
SIMULATIONS = 200
"""How many times labels are drawn for `ece_if_calibrated`."""


def probabilities(log_odds: Floats) -> Floats:
    """sigmoid(log_odds), elementwise, without overflow."""
    tail = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, tail) / (1.0 + tail)


def inner_edges(values: Floats, bins: int, binning: str) -> Floats:
    """The ascending edges between bins; a value on an edge belongs to the bin above it.

    `equal_width`: k / bins for k = 1..bins-1. `equal_mass`: values at the ranks k n / bins; equal values
    share a bin, so there are fewer bins if many values are equal.

    Args:
        values: (n,) probabilities, n >= 1.
        bins: >= 1.
        binning: one of `BINNINGS`.
    """
    if binning == "equal_width":
        return np.arange(1, bins) / bins
    ranks = (np.arange(1, bins) * len(values)) // bins
    return np.unique(np.sort(values)[ranks])


@dataclass(frozen=True)
class Reliability:
    """Steps in bins by probability; empty bins are left out.

    Attributes:
        steps: (B,) number of steps of each bin.
        probability: (B,) their mean probability.
        label: (B,) their mean label, with its interval `low`..`high`.
        ece: the expected calibration error.
    """

    steps: Integers
    probability: Floats
    label: Floats
    low: Floats
    high: Floats
    ece: Estimate

    def to_json(self, level: float) -> dict[str, Any]:
        """ECE with its interval, and the bins."""
        names = ("steps", "probability", "label", "low", "high")
        columns = [getattr(self, name).tolist() for name in names]
        return {
            "ece": self.ece.to_json(level),
            "bins": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
        }


@dataclass(frozen=True)
class Labelled:
    """The steps in scope: what calibration is measured on.

    Attributes:
        probability: (n,).
        label: (n,) in [0, 1].
        rollouts: (n,) number of rollouts behind each label: 1 for a judgement, 0 if unknown.
        owner: (n,) the question of each step.
        draws: of the questions.
    """

    probability: Floats
    label: Floats
    rollouts: Integers
    owner: Integers
    draws: QuestionDraws

    @classmethod
    def of(cls, steps: ScoredSteps, scorer: str, scope: str, draws: QuestionDraws) -> Labelled:
        """The steps in scope (`ScoredSteps.in_scope`) of a scorer."""
        taken = steps.in_scope(scope)
        numbers, _ = steps.question_numbers
        rollouts = steps.rollouts[taken] if steps.soft else np.ones(int(taken.sum()), dtype=np.int64)
        return cls(
            probabilities(steps.log_odds[scorer][taken]),
            steps.labels[taken],
            rollouts,
            numbers[steps.record[taken]],
            draws,
        )

    def __len__(self) -> int:
        return len(self.label)


def brier(data: Labelled) -> Estimate:
    """Mean squared difference of probability and label; NaN without steps.

    Half of it can be label noise: compare it with `base_rate_brier`, that of the best constant.
    """
    errors = (data.probability - data.label) ** 2
    drawn = data.draws.sums(_by_question(data, np.stack([errors, np.ones(len(data))], axis=1)))
    value = float(errors.mean()) if len(data) else float("nan")
    return Estimate(value, ratio(drawn[:, 0], drawn[:, 1]))


def base_rate_brier(data: Labelled) -> float:
    """The Brier score of a scorer that always gives the mean label: the labels' variance."""
    return float(data.label.var()) if len(data) else float("nan")


def reliability(data: Labelled, *, bins: int, binning: str, level: float) -> Reliability:
    """The reliability curve and the ECE.

    Bootstrap samples use the bins of the data; bins are not recomputed for each sample.

    Args:
        data: at least one step.
        bins: >= 1.
        binning: one of `BINNINGS`.
        level: of the intervals of the bins' mean labels, in (0, 1).
    """
    place = np.searchsorted(inner_edges(data.probability, bins, binning), data.probability, side="right")
    _, place = np.unique(place, return_inverse=True)  # without empty bins
    used = int(place.max()) + 1
    one_hot = np.zeros((len(data), used))
    one_hot[np.arange(len(data)), place] = 1.0
    columns = [one_hot, one_hot * data.probability[:, None], one_hot * data.label[:, None]]
    by_question = _by_question(data, np.concatenate(columns, axis=1))  # (Q, 3 B)
    whole = by_question.sum(axis=0)
    drawn = data.draws.sums(by_question)
    labels = ratio(drawn[:, 2 * used :], drawn[:, :used])  # (resamples, B)
    ends = [percentile_interval(column[np.isfinite(column)], level=level) for column in labels.T]
    return Reliability(
        steps=whole[:used].round().astype(np.int64),
        probability=whole[used : 2 * used] / whole[:used],
        label=whole[2 * used :] / whole[:used],
        low=np.array([low for low, _ in ends]),
        high=np.array([high for _, high in ends]),
        ece=Estimate(float(_ece(whole[None])[0]), _ece(drawn)),
    )


def ece_if_calibrated(
    data: Labelled, *, bins: int, binning: str, seed: int, level: float
) -> dict[str, float] | None:
    """The ECE by chance alone: that of labels drawn with the scorer's own probabilities.

    An ECE below `high` is no evidence against calibration. Labels are drawn independently, each as a binomial
    share of as many rollouts as the real label has. Real labels of one record are correlated, so chance gives
    a somewhat higher ECE than this.

    Args:
        data: at least one step.
        bins, binning: as in `reliability`.
        seed: of the draws.
        level: `high` is exceeded by chance (1 - level) of the time.

    Returns:
        `mean` and `high` over `SIMULATIONS` draws; None if a number of rollouts is unknown.
    """
    if not data.rollouts.all():
        return None
    generator = np.random.default_rng(seed)
    place = np.searchsorted(inner_edges(data.probability, bins, binning), data.probability, side="right")

    def one() -> float:
        labels = generator.binomial(data.rollouts, data.probability) / data.rollouts
        gaps = np.bincount(place, weights=labels - data.probability, minlength=bins)
        return float(np.abs(gaps).sum() / len(data))

    values = [one() for _ in range(SIMULATIONS)]
    return {"mean": float(np.mean(values)), "high": float(np.quantile(values, level))}


def _ece(sums: Floats) -> Floats:
    """(rows,) ECE from (rows, 3 B) sums: counts, probabilities and labels by bin."""
    count, probability, label = np.split(sums, 3, axis=1)
    return ratio(np.abs(label - probability).sum(axis=1), count.sum(axis=1))


def _by_question(data: Labelled, columns: Floats) -> Floats:
    return sums_by_question(columns, data.owner, data.draws.questions)
