"""How well scores tell right steps from wrong ones: the area under the ROC curve.

    AUC = share of (right, wrong) pairs of steps in which the right one scores higher, ties counting half

No threshold is involved. `pooled` compares steps of different records too, so a scorer that only tells easy
questions from hard ones gains; `per record` is the mean over records that have both kinds, and sees only
whether a record's own wrong steps score lower.
"""

from __future__ import annotations

import numpy as np

from dreamprm.data.rank_statistics import auc, weighted_auc
from dreamprm.evaluation.bootstrap import Estimate, Floats, QuestionDraws, ratio, sums_by_question
from dreamprm.evaluation.steps.scored_steps import ScoredSteps

_WEIGHTS_AT_ONCE = 4_000_000  # (samples, steps) weights held in memory at a time: 32 MB


def pooled_auc(steps: ScoredSteps, scorer: str, scope: str, draws: QuestionDraws) -> Estimate:
    """The AUC over all steps in scope (`ScoredSteps.in_scope`) that are known to be right or wrong."""
    taken = steps.in_scope(scope) & ~np.isnan(steps.right)
    scores, right = steps.log_odds[scorer][taken], steps.right[taken] == 1
    numbers, _ = steps.question_numbers
    owner = numbers[steps.record[taken]]
    at_once = max(1, _WEIGHTS_AT_ONCE // max(1, len(scores)))

    def drawn(counts: Floats) -> Floats:
        blocks = [counts[start : start + at_once] for start in range(0, len(counts), at_once)]
        return np.concatenate([weighted_auc(scores, right, block[:, owner]) for block in blocks])

    return Estimate(auc(scores, right), draws.each(drawn))


def record_aucs(steps: ScoredSteps, scorer: str, scope: str) -> Floats:
    """(R,) the AUC within each record; NaN where its steps in scope are all right or all wrong."""
    taken = steps.in_scope(scope) & ~np.isnan(steps.right)
    scores, right = steps.log_odds[scorer], steps.right == 1
    values = []
    for start, end in zip(steps.offsets, steps.offsets[1:]):
        kept = taken[start:end]
        values.append(auc(scores[start:end][kept], right[start:end][kept]))
    return np.array(values)


def mean_record_auc(steps: ScoredSteps, scorer: str, scope: str, draws: QuestionDraws) -> Estimate:
    """The mean of `record_aucs` over the records that have one."""
    values = record_aucs(steps, scorer, scope)
    defined = ~np.isnan(values)
    columns = np.stack([np.where(defined, values, 0.0), defined], axis=1)
    numbers, total = steps.question_numbers
    drawn = draws.sums(sums_by_question(columns, numbers, total))
    mean = float(values[defined].mean()) if defined.any() else float("nan")
    return Estimate(mean, ratio(drawn[:, 0], drawn[:, 1]))
