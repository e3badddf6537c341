"""How well a threshold tells right steps from wrong ones: the scores of VisualProcessBench and PRMBench.

    F1_right = 2 TP / (2 TP + FP + FN),  F1_wrong = 2 TN / (2 TN + FN + FP),  f1 = (F1_right + F1_wrong) / 2

over steps: TP, right steps not below the threshold; TN, wrong ones below it. Every labelled step counts, also
one after the first error; a null label (a neutral step) does not. `f1` is the "macro F1" that
VisualProcessBench gives for each data source (arXiv 2503.10291, section 3.3) and PRMBench's PRMScore with
both weights 1/2 (arXiv 2501.03124). Over the domains of a subset (data sources; kinds of errors):

    micro_f1   f1 of all of its steps: VisualProcessBench's overall score ("the micro average")
    macro_f1   the unweighted mean of the domains' f1, over those that have one

An F1 is undefined where there is no step of its kind (PRMBench's `multi_solutions` has no wrong one);
`accuracy`, the share of steps told rightly, always is. The threshold is the one with the highest `micro_f1`
on the development set, found exactly, or the given one; VisualProcessBench's authors use .85 for their own
model, PRMBench's .5 for most. A step whose score equals the threshold counts as right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.errors import UserError
from dreamprm.data.step_scores import probability
from dreamprm.evaluation.bootstrap import Bootstrap, Estimate, Floats, QuestionDraws, ratio, sums_by_question
from dreamprm.evaluation.steps.development import Parts
from dreamprm.evaluation.steps.scored_steps import ScoredSteps
from dreamprm.evaluation.steps.threshold import between

STEP_FIGURES = ("f1", "f1_right", "f1_wrong", "accuracy")
OVER_DOMAINS = ("micro_f1", "macro_f1")


@dataclass(frozen=True)
class StepThreshold:
    """A scorer's threshold in log-odds, and its f1 on the development set, if it was chosen there."""

    log_odds: float
    development: float | None = None
    tried: int = 0

    def to_json(self) -> dict[str, Any]:
        """The threshold, and how it was found."""
        found = {"probability": probability(self.log_odds), "log_odds": self.log_odds}
        if self.development is None:
            return found
        return found | {"development": {"f1": self.development, "thresholds_tried": self.tried}}


def best_threshold(steps: ScoredSteps, scorer: str, *, without: Collection[str] = ()) -> StepThreshold:
    """The threshold with the highest f1 on a development set; the lowest if several reach it.

    Args:
        steps: the development records.
        scorer: one of their scorers.
        without: domains that do not count.

    Raises:
        UserError: it has no right or no wrong step, so that f1 is undefined.
    """
    counted = _counted(steps, without)
    scores, right = steps.log_odds[scorer][counted], steps.right[counted] == 1
    rights, wrongs = int(right.sum()), int((~right).sum())
    if not rights or not wrongs:
        raise UserError(
            f"the development set holds {rights} right and {wrongs} wrong steps; a threshold needs both:"
            " choose it on more or on other records (threshold.*)"
        )
    thresholds = between(np.unique(scores))
    order = np.argsort(scores, kind="stable")
    below = np.searchsorted(scores[order], thresholds, side="left")  # how many steps count as wrong
    right_below = np.concatenate([[0], np.cumsum(right[order])])[below]
    tp, tn = rights - right_below, below - right_below
    columns = np.stack([tp, wrongs - tn, tn, right_below], axis=1).astype(np.float64)
    f1 = _figures(columns)["f1"]
    best = int(np.argmax(f1))
    return StepThreshold(float(thresholds[best]), float(f1[best]), len(thresholds))


def step_f1(
    parts: Parts,
    thresholds: Mapping[str, StepThreshold],
    bootstrap: Bootstrap,
    *,
    without: Collection[str] = (),
) -> dict[str, Any]:
    """All step F1s of the test records: by scorer and subset, also of its domains, and pooled.

    Args:
        parts: the development and the test records.
        thresholds: by scorer.
        bootstrap: of the questions of each subset.
        without: domains that do not count.

    Returns:
        {"subsets": {scorer: {subset: {figure: Estimate}}}, "domains": {scorer: {subset: {domain: {...}}}},
        "pooled": {scorer: {figure: Estimate}}}; the last over all subsets that are not the development set.
    """
    result: dict[str, Any] = {"subsets": {}, "domains": {}, "pooled": {}}
    for name, threshold in thresholds.items():
        sums, drawn = [], []
        for index, (subset, steps) in enumerate(parts.test.items()):
            counted = _counted(steps, without)
            if not counted.any():
                continue
            draws = bootstrap.draws(steps.question_numbers[1], index)
            by_domain = {
                domain: _counts(steps, name, threshold.log_odds, counted & (steps.domain_of_steps == domain))
                for domain in sorted(set(steps.domain_of_steps[counted]))
            }
            one = _estimates(sum(by_domain.values()), steps, draws)
            each = {domain: _estimates(cells, steps, draws) for domain, cells in by_domain.items()}
            figures = {**one.estimates, "micro_f1": one.estimates["f1"], "macro_f1": _mean(each.values())}
            result["subsets"].setdefault(name, {})[subset] = figures
            if len(each) > 1:
                held = {domain: found.estimates for domain, found in each.items()}
                result["domains"].setdefault(name, {})[subset] = held
            if subset != parts.apart:
                sums.append(one.sums)
                drawn.append(one.drawn)
        if len(sums) > 1:
            whole, samples = _figures(np.sum(sums, axis=0)[None]), _figures(np.sum(drawn, axis=0))
            result["pooled"][name] = {
                figure: Estimate(float(whole[figure][0]), samples[figure]) for figure in STEP_FIGURES
            }
    return result


@dataclass(frozen=True)
class _Estimated:
    sums: Floats  # (4,) TP, FP, TN, FN
    drawn: Floats  # (resamples, 4)
    estimates: Mapping[str, Estimate]


def _estimates(cells: Any, steps: ScoredSteps, draws: QuestionDraws) -> _Estimated:
    numbers, total = steps.question_numbers
    drawn = draws.sums(sums_by_question(cells, numbers, total))
    sums = cells.sum(axis=0)
    whole, samples = _figures(sums[None]), _figures(drawn)
    estimates = {name: Estimate(float(whole[name][0]), samples[name]) for name in STEP_FIGURES}
    return _Estimated(sums, drawn, estimates)


def _mean(domains: Collection[_Estimated]) -> Estimate:
    """The unweighted mean of the f1 of the domains that have one; in a sample, of those with one there."""
    ones = [one.estimates["f1"] for one in domains if np.isfinite(one.estimates["f1"].value)]
    if not ones:
        return Estimate(float("nan"), next(iter(domains)).drawn[:, 0] * np.nan)
    drawn = np.stack([one.drawn for one in ones])
    there = np.isfinite(drawn)
    means = ratio(np.where(there, drawn, 0.0).sum(axis=0), there.sum(axis=0).astype(np.float64))
    return Estimate(float(np.mean([one.value for one in ones])), means)


def _counted(steps: ScoredSteps, without: Collection[str]) -> NDArray[np.bool_]:
    """(S,) which steps are known to be right or wrong, and are of a domain that counts."""
    named: Sequence[str] = sorted(without)
    return ~np.isnan(steps.right) & ~np.isin(steps.domain_of_steps, named)


def _counts(steps: ScoredSteps, scorer: str, threshold: float, counted: NDArray[np.bool_]) -> Floats:
    """(R, 4) each record's TP, FP, TN, FN."""
    right, kept = steps.right == 1, ~(steps.log_odds[scorer] < threshold)
    cells = np.stack([right & kept, ~right & kept, ~right & ~kept, right & ~kept], axis=1) & counted[:, None]
    columns = [np.bincount(steps.record, weights=cell, minlength=len(steps)) for cell in cells.T]
    return np.stack(columns, axis=1).astype(np.float64)


def _figures(sums: Floats) -> dict[str, Floats]:
    """The figures of (rows, 4) sums of TP, FP, TN, FN; an F1 is NaN without a step of its kind."""
    tp, fp, tn, fn = sums.T
    right = np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan)
    wrong = np.where(tn + fp > 0, ratio(2 * tn, 2 * tn + fp + fn), np.nan)
    accuracy = ratio(tp + tn, tp + fp + tn + fn)
    return {"f1": (right + wrong) / 2, "f1_right": right, "f1_wrong": wrong, "accuracy": accuracy}
