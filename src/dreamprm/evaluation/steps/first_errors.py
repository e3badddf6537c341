"""ProcessBench's protocol: the first error's index is predicted, and judged by the F1 of two accuracies.

    prediction = the first step whose score is below the threshold; -1 if no score is
    error accuracy   = share of erroneous samples whose first error is predicted exactly
    correct accuracy = share of error-free samples that are predicted to be so (-1)
    F1 = 2 error_accuracy * correct_accuracy / (error_accuracy + correct_accuracy)

The harmonic mean gives 0 to a scorer that finds no error and to one that sees errors everywhere. Source:
Zheng et al., "ProcessBench", arXiv 2412.06559, section 3; there, scalar scores are made binary by the
threshold with the highest F1 on the GSM8K subset, and "average" is the mean of the subsets' F1.

Guesses do not look at the steps: they show what a scorer's F1 is worth.

    always_correct   -1 for every record
    random           one of -1 and the record's n steps, each with chance 1 / (n + 1)
    majority         the commonest answer of the development set (an index or -1), for every record
    blind            -1 with chance q, else the commonest index k of the development set's first errors

The first and the third give one answer for all records, so that one of the two accuracies is 0, and so is F1.
`blind` hedges: with s the share of the development set's erroneous records whose first error is k, its
accuracies are (1 - q) s and q, and their harmonic mean is greatest at q = sqrt(s) / (1 + sqrt(s)), where it
is 2 s / (1 + sqrt(s))^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dreamprm.evaluation.bootstrap import Estimate, Floats, Integers, QuestionDraws, ratio, sums_by_question
from dreamprm.evaluation.steps.scored_steps import ERROR_FREE, UNKNOWN, ScoredSteps

FIGURES = ("f1", "error_accuracy", "correct_accuracy")

GUESSES = {
    "always_correct": "-1 for every record",
    "random": "one of -1 and the steps at random",
    "majority": "the commonest answer of the development set",
    "blind": "-1 or the commonest first error of the development set, mixed for the highest F1",
}
"""What each guess answers, by its name in `first_error`."""


def predict_first_errors(steps: ScoredSteps, scorer: str, threshold: float) -> Integers:
    """(R,) each record's first step whose log-odds are below `threshold` (log-odds); -1 without one."""
    below = steps.log_odds[scorer] < threshold
    ends = [np.flatnonzero(below[a:b]) for a, b in zip(steps.offsets, steps.offsets[1:])]
    return np.array([places[0] if places.size else ERROR_FREE for places in ends], dtype=np.int64)


def hits(predictions: ArrayLike, steps: ScoredSteps) -> Floats:
    """(R,) 1 where the prediction (R,) is the first error's index, else 0; also 0 where that is unknown."""
    return (np.asarray(predictions) == steps.first_error).astype(np.float64)


def f1_of(error_accuracy: ArrayLike, correct_accuracy: ArrayLike) -> Floats:
    """The harmonic mean of two accuracies, elementwise; 0 where both are 0, NaN where one is NaN."""
    error, correct = np.asarray(error_accuracy, float), np.asarray(correct_accuracy, float)
    total = error + correct
    return np.divide(2 * error * correct, total, out=np.where(total == 0, 0.0, np.nan), where=total > 0)


@dataclass(frozen=True)
class FirstErrorScore:
    """The two accuracies and their F1, each with its bootstrap samples."""

    f1: Estimate
    error_accuracy: Estimate
    correct_accuracy: Estimate


def score_first_errors(hit: Floats, steps: ScoredSteps, draws: QuestionDraws) -> FirstErrorScore:
    """ProcessBench's figures of one subset.

    Args:
        hit: (R,) in [0, 1]: whether each record's prediction is right, or how likely it is for a guess.
            Records whose first error is unknown do not count.
        steps: the subset.
        draws: of its questions.

    Returns:
        The figures; NaN for an accuracy over no records, and for an F1 with such an accuracy.
    """
    erroneous, correct = steps.first_error >= 0, steps.first_error == ERROR_FREE
    columns = np.stack([erroneous * hit, erroneous, correct * hit, correct], axis=1).astype(np.float64)
    numbers, total = steps.question_numbers
    by_question = sums_by_question(columns, numbers, total)
    whole, drawn = _accuracies(columns.sum(axis=0)[None]), _accuracies(draws.sums(by_question))
    return FirstErrorScore(**{name: Estimate(float(whole[name][0]), drawn[name]) for name in FIGURES})


def _accuracies(sums: Floats) -> Mapping[str, Floats]:
    """The figures of (rows, 4) sums: hits and number of erroneous, hits and number of correct records."""
    error_hits, errors, correct_hits, corrects = sums.T
    error, correct = ratio(error_hits, errors), ratio(correct_hits, corrects)
    return {"f1": f1_of(error, correct), "error_accuracy": error, "correct_accuracy": correct}


def counts(steps: ScoredSteps) -> dict[str, int]:
    """How many records the figures are based on: erroneous, correct, and those left out."""
    return {
        "erroneous": int((steps.first_error >= 0).sum()),
        "correct": int((steps.first_error == ERROR_FREE).sum()),
        "first_error_unknown": int((steps.first_error == UNKNOWN).sum()),
    }


def guess_hits(steps: ScoredSteps, development: ScoredSteps | None) -> dict[str, Floats]:
    """(R,) by guess: how likely it is to be right about each record.

    Accuracies are then expected accuracies, and F1 is the harmonic mean of those.

    Args:
        steps: the records that are guessed about.
        development: what `majority` and `blind` learn from; None: they are left out.
    """
    first = steps.first_error
    result = {
        "always_correct": (first == ERROR_FREE).astype(np.float64),
        "random": 1.0 / (np.diff(steps.offsets) + 1),
    }
    if development is None:
        return result
    common = most_common(development.first_error[development.judged])
    result["majority"] = (first == common).astype(np.float64)
    errors = development.first_error[development.first_error >= 0]
    index = most_common(errors)
    q = hedge(float((errors == index).mean()))
    result["blind"] = q * (first == ERROR_FREE) + (1 - q) * (first == index)
    return result


def most_common(answers: np.ndarray) -> int:
    """The commonest of (n,) integers, n >= 1; the smallest if several are."""
    values, number = np.unique(answers, return_counts=True)
    return int(values[np.argmax(number)])


def hedge(share: float) -> float:
    """The chance of -1 with which `blind` reaches its highest F1, sqrt(s) / (1 + sqrt(s))."""
    return math.sqrt(share) / (1 + math.sqrt(share))
