"""How far a method's labels are off, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rollout_chains import PREFIXES, Chain

from dreamprm.evaluation.bootstrap import QuestionDraws, percentile_interval
from dreamprm.labelling.rollouts import Ask, LabelMethod, Tally, build_method, run_plan


@dataclass(frozen=True)
class Outcome:
    """A method's results on some chains; (chains, prefixes), NaN where it gave no label."""

    labels: np.ndarray
    rollouts: np.ndarray
    tokens: np.ndarray


def label(method: LabelMethod, chains: Sequence[Chain]) -> Outcome:
    rows = [_label_one(method, chain) for chain in chains]
    return Outcome(*(np.array(column) for column in zip(*rows, strict=True)))


def _label_one(method: LabelMethod, chain: Chain) -> tuple[list[float], list[int], list[int]]:
    used = [0] * PREFIXES

    def read(asks: Sequence[Ask]) -> list[Tally]:
        tallies = []
        for ask in asks:
            first = used[ask.step - 1]
            used[ask.step - 1] = first + ask.count
            tallies.append(Tally(int(chain.right[ask.step - 1, first : first + ask.count].sum()), ask.count))
        return tallies

    labels = run_plan(method.plan(PREFIXES, correct=chain.correct), read)
    return (
        [np.nan if one.p is None else one.p for one in labels],
        used,
        [int(chain.tokens[i, :count].sum()) for i, count in enumerate(used)],
    )


def truth(chains: Sequence[Chain]) -> np.ndarray:
    """(chains, prefixes)"""
    return np.array([chain.values for chain in chains])


def by_question(chains: Sequence[Chain], values: np.ndarray) -> np.ndarray:
    """(questions, ...) sums over a question's chains and prefixes; NaN counts as nothing."""
    per_chain = np.nansum(values, axis=1)
    _, number = np.unique([str(chain.question) for chain in chains], return_inverse=True)
    sums = np.zeros((number.max() + 1, *per_chain.shape[1:]))
    np.add.at(sums, number, per_chain)
    return sums


def mean_and_interval(chains: Sequence[Chain], values: np.ndarray) -> tuple[float, float, float]:
    """The mean over labelled steps with its 95 % bootstrap interval over questions."""
    sums = by_question(chains, np.stack([values, np.where(np.isnan(values), np.nan, 1.0)], axis=-1))
    drawn = QuestionDraws(len(sums), 0).means(sums)
    return float(np.nanmean(values)), *percentile_interval(drawn[:, 0] / drawn[:, 1], level=0.95)


@dataclass(frozen=True)
class Figures:
    """One row of the table."""

    cost: float  # rollouts per labelled step
    tokens: float
    labelled: float
    error: tuple[float, float, float]  # mean absolute, with its interval
    bias: tuple[float, float, float]
    slope: float  # of the label against the truth: 1 if labels are not shrunk
    wrong_side: float


def figures(method: LabelMethod, chains: Sequence[Chain]) -> Figures:
    outcome, values = label(method, chains), truth(chains)
    given = ~np.isnan(outcome.labels)
    off = outcome.labels - values
    labels, true = outcome.labels[given], values[given]
    variance = np.var(true, ddof=1)
    # A label of exactly one half is on neither side and counts as half wrong.
    wrong = np.where(labels == 0.5, 0.5, (labels > 0.5) != (true > 0.5))
    return Figures(
        cost=outcome.rollouts.sum() / given.sum(),
        tokens=outcome.tokens.sum() / given.sum(),
        labelled=given.mean(),
        error=mean_and_interval(chains, np.abs(off)),
        bias=mean_and_interval(chains, off),
        slope=np.cov(labels, true)[0, 1] / variance if variance else np.nan,
        wrong_side=wrong.mean(),
    )


def paired(chains: Sequence[Chain], one: LabelMethod, other: LabelMethod) -> tuple[float, float, float]:
    """The difference between two methods' mean absolute errors on the same steps, with its interval."""
    values = truth(chains)
    errors = [np.abs(label(method, chains).labels - values) for method in (one, other)]
    return mean_and_interval(chains, errors[0] - errors[1])


def first_errors(chains: Sequence[Chain], rollouts: int) -> tuple[float, float, float, int]:
    """For the wrong chains: how often the search finds each of two true steps, prefixes visited, and their
    number.

    The true steps: the first one from which the true value is 0 (found with ever more rollouts), and the
    first one that more than halves it (what a reader would call the error). Step 5, the end, has value 0.
    """
    wrong = [chain for chain in chains if not chain.correct]
    method = build_method("first_error", rollouts=rollouts, fill="next")
    outcome = label(method, wrong)
    hits = np.zeros(2)
    for chain, labels in zip(wrong, outcome.labels, strict=True):
        found = next((i for i, p in enumerate(labels, 1) if p == 0), PREFIXES + 1)
        values = [chain.start, *chain.values, 0.0]
        dead = next(i for i in range(1, len(values)) if values[i] == 0)
        fell = next(i for i in range(1, len(values)) if values[i] < values[i - 1] / 2 or values[i] == 0)
        hits += found == dead, found == fell
    return (*(hits / len(wrong)), float((outcome.rollouts > 0).sum() / len(wrong)), len(wrong))
