"""What is reached without looking at any step: beside these, a scorer's F1 says what it is worth.

    always_correct   -1 for every record
    random           one of -1 and the record's n steps, each with chance 1 / (n + 1)
    majority         the commonest answer of the development set (an index or -1), for every record
    blind            -1 with chance q, else the commonest index k of the development set's first errors

The first and the third name one answer for all records, so that one of the two accuracies is 0, and with
it F1. `blind` hedges: with s the share of the development set's erroneous records whose first error is k, its
accuracies are (1 - q) s and q, and their harmonic mean is greatest at q = sqrt(s) / (1 + sqrt(s)), where it
is 2 s / (1 + sqrt(s))^2.
"""

from __future__ import annotations

import math

import numpy as np

from dreamprm.evaluation.steps.resampling import Floats
from dreamprm.evaluation.steps.scored_steps import ERROR_FREE, ScoredSteps

GUESSES = ("always_correct", "random", "majority", "blind")


def guess_hits(steps: ScoredSteps, development: ScoredSteps | None) -> dict[str, Floats]:
    """(R,) by guess: how likely it is to be right about each record.

    Accuracies are then expected ones, and F1 is the harmonic mean of those.

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
    """The commonest of (n,) whole numbers, n >= 1; the least where several are."""
    values, number = np.unique(answers, return_counts=True)
    return int(values[np.argmax(number)])


def hedge(share: float) -> float:
    """The chance of -1 with which `blind` reaches its highest F1, sqrt(s) / (1 + sqrt(s))."""
    return math.sqrt(share) / (1 + math.sqrt(share))
