"""From candidates' scores to the evaluation entries of a run's summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamprm.evaluation.intervals import Floats, percentile_interval, resampled_means
from dreamprm.evaluation.selectors import CandidateScores, subset_sizes

MEAN = "mean"
"""Name under which the mean over suites stands beside the suites."""


def evaluate_suites(
    suites: Mapping[str, CandidateScores], *, shifted: Sequence[str] = (), seed: int = 0, level: float = 0.95,
    resamples: int = 2000,
    compare: Sequence[tuple[str, str]] = (("dreamprm", "vanilla"), ("dreamprm", "majority")),
) -> dict[str, Any]:
    """The summary's accuracy entries for every selector and suite, as plain floats ready for JSON.

    "mean" is the unweighted mean over the `shifted` suites where some are named, else over all suites.
    Intervals are percentile bootstrap intervals over questions; suites are drawn independently, selectors of
    one suite from the same draws, so that differences are paired.

    Args:
        suites: candidates and scores by suite name; every suite has the same selectors.
        shifted: names of the suites that enter "mean"; empty for all.
        seed, level, resamples: of the bootstrap.
        compare: pairs (a, b) for `differences`; pairs that name an absent selector are left out.
    Returns:
        best_of_n {selector: {suite: accuracy with all N candidates}};
        intervals {selector: {suite: [lo, hi]}};
        accuracy_by_n {selector: {suite: {"1": accuracy, ...}}}, intervals_by_n likewise with [lo, hi];
        differences {"a-b": {suite: [difference, lo, hi]}}, absent when no pair is left;
        shifted_suites [names].
        "mean" stands among the suites everywhere; over n it has those n that all of its suites have.
    Raises: ValueError for no suite, a suite named "mean", an unknown shifted suite, or differing selectors.
    """
    averaged = _checked(suites, shifted)
    selectors = next(iter(suites.values())).selectors
    result: dict[str, Any] = {
        key: {selector: {} for selector in selectors}
        for key in ("best_of_n", "intervals", "accuracy_by_n", "intervals_by_n")
    }
    pairs = {f"{a}-{b}": (a, b) for a, b in compare if a in selectors and b in selectors}
    differences: dict[str, dict[str, list[float]]] = {pair: {} for pair in pairs}

    tables = [_SuiteTable(suite, (seed, index), resamples) for index, suite in enumerate(suites.values())]
    by_name: dict[str, list[_SuiteTable]] = {name: [table] for name, table in zip(suites, tables)}
    by_name[MEAN] = [by_name[name][0] for name in averaged]
    for name, members in by_name.items():
        sizes = [n for n in members[0].sizes if all(n in member.sizes for member in members)]
        for selector in selectors:
            full = [member.column(selector, member.sizes[-1]) for member in members]
            mean, interval = _estimate(full, level)
            result["best_of_n"][selector][name], result["intervals"][selector][name] = mean, interval
            over_n = {n: _estimate([member.column(selector, n) for member in members], level) for n in sizes}
            result["accuracy_by_n"][selector][name] = {str(n): over_n[n][0] for n in sizes}
            result["intervals_by_n"][selector][name] = {str(n): over_n[n][1] for n in sizes}
        for pair, (a, b) in pairs.items():
            gaps = [member.difference(a, b) for member in members]
            mean, interval = _estimate(gaps, level)
            differences[pair][name] = [mean, *interval]
    if pairs:
        result["differences"] = differences
    result["shifted_suites"] = list(shifted)
    return result


class _SuiteTable:
    """Per-question accuracies of all selectors and n of one suite, with their bootstrap means."""

    def __init__(self, suite: CandidateScores, seed: tuple[int, int], resamples: int) -> None:
        self.sizes = subset_sizes(suite.size)
        self._index = {key: k for k, key in enumerate((s, n) for s in suite.selectors for n in self.sizes)}
        values = np.stack([suite.accuracy(selector, n) for selector, n in self._index], axis=1)  # (Q, V)
        self._means = values.mean(axis=0)
        self._drawn = resampled_means(values, seed=seed, resamples=resamples)  # (resamples, V)

    def column(self, selector: str, n: int) -> tuple[float, Floats]:
        k = self._index[selector, n]
        return float(self._means[k]), self._drawn[:, k]

    def difference(self, a: str, b: str) -> tuple[float, Floats]:
        (mean_a, drawn_a), (mean_b, drawn_b) = self.column(a, self.sizes[-1]), self.column(b, self.sizes[-1])
        return mean_a - mean_b, drawn_a - drawn_b


def _estimate(columns: Sequence[tuple[float, Floats]], level: float) -> tuple[float, list[float]]:
    drawn = np.mean([column[1] for column in columns], axis=0)
    return float(np.mean([column[0] for column in columns])), list(percentile_interval(drawn, level=level))


def _checked(suites: Mapping[str, CandidateScores], shifted: Sequence[str]) -> list[str]:
    if not suites:
        raise ValueError("no suite to evaluate: give at least one")
    if MEAN in suites:
        raise ValueError(f"a suite may not be named {MEAN!r}: the mean over suites stands under that name")
    unknown = [name for name in shifted if name not in suites]
    if unknown:
        raise ValueError(f"shifted names {', '.join(unknown)}, which is no suite; there are "
                         f"{', '.join(suites)}")
    names = {name: suite.selectors for name, suite in suites.items()}
    first = next(iter(names))
    for name, selectors in names.items():
        if set(selectors) != set(names[first]):
            raise ValueError(f"all suites need the same selectors: {first} has {', '.join(names[first])}, "
                             f"{name} has {', '.join(selectors)}")
    return list(shifted) or list(suites)
