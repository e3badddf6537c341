"""From candidates' scores to the evaluation entries of a run's summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dreamprm.evaluation.bootstrap import Bootstrap, Estimate, PairedOutcomes, mean_of
from dreamprm.evaluation.selectors import CandidateScores, subset_sizes

MEAN = "mean"
"""Name under which the mean over suites stands beside the suites."""


def evaluate_suites(
    suites: Mapping[str, CandidateScores],
    *,
    shifted: Sequence[str] = (),
    seed: int = 0,
    level: float = 0.95,
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

    bootstrap = Bootstrap(seed, resamples, level)
    outcomes = {
        name: _outcomes(suite, bootstrap, index) for index, (name, suite) in enumerate(suites.items())
    }
    members_by_name = {name: [name] for name in suites} | {MEAN: averaged}
    for name, members in members_by_name.items():
        sizes = [subset_sizes(suites[member].size) for member in members]
        for selector in selectors:
            full = [outcomes[member][selector, own[-1]] for member, own in zip(members, sizes)]
            mean, interval = _estimate(full, level)
            result["best_of_n"][selector][name], result["intervals"][selector][name] = mean, interval
            over_n = {
                n: _estimate([outcomes[member][selector, n] for member in members], level)
                for n in sizes[0]
                if all(n in own for own in sizes)
            }
            result["accuracy_by_n"][selector][name] = {str(n): over_n[n][0] for n in over_n}
            result["intervals_by_n"][selector][name] = {str(n): over_n[n][1] for n in over_n}
        for pair, (a, b) in pairs.items():
            gaps = [
                outcomes[member][a, own[-1]] - outcomes[member][b, own[-1]]
                for member, own in zip(members, sizes)
            ]
            mean, interval = _estimate(gaps, level)
            differences[pair][name] = [mean, *interval]
    if pairs:
        result["differences"] = differences
    result["shifted_suites"] = list(shifted)
    return result


def _estimate(estimates: Sequence[Estimate], level: float) -> tuple[float, list[float]]:
    mean = mean_of(estimates)
    return mean.value, list(mean.interval(level))


def _outcomes(suite: CandidateScores, bootstrap: Bootstrap, index: int) -> PairedOutcomes:
    values = {
        (selector, n): suite.accuracy(selector, n)
        for selector in suite.selectors
        for n in subset_sizes(suite.size)
    }
    return PairedOutcomes(values, bootstrap.draws(len(suite.correct), index))


def _checked(suites: Mapping[str, CandidateScores], shifted: Sequence[str]) -> list[str]:
    if not suites:
        raise ValueError("no suite to evaluate: give at least one")
    if MEAN in suites:
        raise ValueError(f"a suite may not be named {MEAN!r}: the mean over suites stands under that name")
    unknown = [name for name in shifted if name not in suites]
    if unknown:
        raise ValueError(
            f"shifted names {', '.join(unknown)}, which is no suite; there are {', '.join(suites)}"
        )
    names = {name: suite.selectors for name, suite in suites.items()}
    first = next(iter(names))
    for name, selectors in names.items():
        if set(selectors) != set(names[first]):
            raise ValueError(
                f"all suites need the same selectors: {first} has {', '.join(names[first])}, "
                f"{name} has {', '.join(selectors)}"
            )
    return list(shifted) or list(suites)
