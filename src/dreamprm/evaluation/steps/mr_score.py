"""MR-Ben's score (arXiv 2406.13975), as far as a scorer of steps can earn it.

    MR-Score = .2 max(0, MCC) + .3 ACC_step + .5 ACC_reason

MCC is Matthews' correlation of the verdicts on whole solutions ("correct" where no step is below the
threshold); ACC_step is the share of the wrong solutions whose first error is found exactly; ACC_reason judges
an explanation of the error, which a scorer does not give. `mr_score_without_reason` is the sum of the first
two terms: at most .5, and not to be put beside a language model's MR-Score. The script averages over
subjects, so give each subject as a subset. Source: github.com/dvlab-research/Mr-Ben (`script/evaluate.py`,
`script/utils.py`). Departures: a solution that is wrong nobody knows where is left out (25 of 2,736), where
the script counts its step as missed; for programs, the script lets a language model judge the step.
"""

from __future__ import annotations

import numpy as np

from dreamprm.evaluation.bootstrap import (
    Estimate,
    Floats,
    Integers,
    QuestionDraws,
    ratio,
    sums_by_question,
)
from dreamprm.evaluation.steps.scored_steps import ERROR_FREE, ScoredSteps

MR_FIGURES = ("mcc", "acc_step", "mr_score_without_reason")
_OF_MCC, _OF_STEP = 0.2, 0.3


def mr_scores(predictions: Integers, steps: ScoredSteps, draws: QuestionDraws) -> dict[str, Estimate]:
    """The figures of one subset.

    Args:
        predictions: (R,) each record's predicted first error, `ERROR_FREE` for none.
        steps: the subset; records whose first error is unknown do not count.
        draws: of its questions.

    Returns:
        By name; NaN for `acc_step` without a wrong solution. MCC is 0 where it is undefined, as in the
        script.
    """
    wrong, correct = steps.first_error >= 0, steps.first_error == ERROR_FREE
    said = predictions == ERROR_FREE
    cells = [
        correct & said,
        wrong & said,
        wrong & ~said,
        correct & ~said,
        wrong & (predictions == steps.first_error),
    ]
    columns = np.stack(cells, axis=1).astype(np.float64)
    numbers, total = steps.question_numbers
    whole = _figures(columns.sum(axis=0)[None])
    drawn = _figures(draws.sums(sums_by_question(columns, numbers, total)))
    return {name: Estimate(float(whole[name][0]), drawn[name]) for name in MR_FIGURES}


def _figures(sums: Floats) -> dict[str, Floats]:
    tp, fp, tn, fn, found = sums.T
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    mcc = np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(np.where(product > 0, product, 1.0)), 0.0)
    step = ratio(found, tn + fp)
    score = _OF_MCC * np.maximum(mcc, 0.0) + _OF_STEP * step
    return {"mcc": mcc, "acc_step": step, "mr_score_without_reason": score}
