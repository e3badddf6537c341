"""Votes: self-consistency weighted by the scores' probabilities.

When two answers are the same is decided in `dreamprm.answers.naming`. Plain majority vote, in closed form, is
`majority_accuracy` in `dreamprm.evaluation.selectors`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dreamprm.answers.naming import candidate_vote, candidate_votes, vote_of
from dreamprm.evaluation.selectors import Answers, Floats, checked_correct, require_answers

__all__ = [
    "candidate_vote",
    "candidate_votes",
    "vote_of",
    "weighted_vote_accuracy",
    "winning_candidates",
]

Integers = NDArray[np.int64]

MOST_SUBSETS = 20_000
"""Up to this many subsets of one size are all enumerated, which covers every size up to 16 candidates."""

DRAWS = 2_000
"""Subsets sampled per question if there are more."""

# Sums of the same weights in another order differ by rounding; they are still a tie.
_TIE = 1e-12
_CELLS_AT_ONCE = 2_000_000  # subset x answer sums held in memory at a time: 16 MB per array


def weighted_vote_accuracy(
    answers: Answers,
    log_odds: ArrayLike,
    correct: ArrayLike,
    n: int,
    *,
    seed: int = 0,
    most_subsets: int = MOST_SUBSETS,
    draws: int = DRAWS,
) -> tuple[Floats, Floats]:
    """Expected accuracy of the answer with the most weight among n candidates, averaged over all subsets.

    The answer chosen from a subset S is argmax_a sum_{j in S, answer_j = a} sigmoid(A_j), A_j the candidate's
    score as log-odds. Ties are broken uniformly at random. A candidate without an answer (None)
    takes a place in the subset but has no vote; a subset without any answer is wrong. If the subset's
    candidates with the same answer differ in `correct`, the answer earns their mean. All of this is as in
    `majority_accuracy`, which it equals if all scores are the same.

    Unlike the highest score, the heaviest answer does not follow from an ordering of the candidates, and no
    closed form is known to us: all C(N, n) subsets are enumerated if there are at most `most_subsets`, else
    `draws` random subsets per question are sampled.

    Args:
        answers: Q lists of N normalised final answers, compared as strings; None without an answer.
        log_odds: (Q, N) finite float. Only the ratios of their sigmoids within a question matter, so a weight
            below 1e-300 of the question's largest counts as 0.
        correct: (Q, N) bool, or credits in [0, 1].
        n: size of the subsets, 1..N.
        seed: of the sampled subsets; has no effect if all are enumerated.
        most_subsets, draws: as above, >= 1.
    Returns: (accuracy, standard error due to sampling), each (Q,); the second is 0 if all are enumerated.
    Raises: ValueError for shapes that differ, a bad n, or a score that is not finite.
    Source: the voting verifier of Li et al., arXiv 2206.02336 (DiVeRSe), section 3.2; also known as weighted
    best-of-N. As in the paper, votes are weighted by the verifier's probability.
    """
    right = checked_correct(correct, n)
    require_answers(answers, right)
    scores = np.asarray(log_odds, dtype=np.float64)
    if scores.shape != right.shape or not np.isfinite(scores).all():
        raise ValueError(
            f"log_odds must be finite and of the shape of correct, {right.shape}; got shape "
            f"{scores.shape} with {int((~np.isfinite(scores)).sum())} values not finite"
        )
    total = right.shape[1]
    log_weights = -np.logaddexp(0.0, -scores)  # log sigmoid, without underflow
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    numbers = _numbers(answers, total)
    groups = np.arange(int(numbers.max(initial=-1)) + 1)
    every = math.comb(total, n) <= most_subsets
    subsets = math.comb(total, n) if every else draws
    fixed = _all_subsets(total, n) if every else None
    generator = np.random.default_rng(seed)
    accuracy, error = np.zeros(len(right)), np.zeros(len(right))
    step = max(1, _CELLS_AT_ONCE // (subsets * max(len(groups), total)))
    for start in range(0, len(right), step):
        part = slice(start, start + step)
        gives = (numbers[part, :, None] == groups).astype(np.float64)  # (q, N, G)
        chosen = _drawn_subsets(generator, len(gives), total, n, draws) if fixed is None else fixed
        earned = _earned(chosen, gives, weights[part], right[part])  # (q, subsets)
        accuracy[part] = earned.mean(axis=1)
        if fixed is None:
            error[part] = earned.std(axis=1) / math.sqrt(draws)
    return accuracy, error


def winning_candidates(answers: Sequence[str | None], log_odds: ArrayLike) -> list[int]:
    """The candidates that gave an answer with the most weight among all N; several answers may tie.

    Args:
        answers: N final answers, as in `weighted_vote_accuracy`.
        log_odds: (N,) scores; all equal for the plain majority.
    Returns: their indices, ascending; empty if no candidate has an answer.
    """
    given = sorted({answer for answer in answers if answer is not None})
    log_weights = -np.logaddexp(0.0, -np.asarray(log_odds, dtype=np.float64))
    weights = np.exp(log_weights - log_weights.max())
    votes = {name: sum(w for w, answer in zip(weights, answers) if answer == name) for name in given}
    top = max(votes.values(), default=0.0)
    return [
        j for j, answer in enumerate(answers) if answer is not None and votes[answer] >= top * (1.0 - _TIE)
    ]


def _earned(
    chosen: Floats,
    gives: Floats,
    weights: Floats,
    correct: Floats,
) -> Floats:
    """(q, subsets) expected accuracy of each subset's chosen answer; `chosen` is 1 for its members."""
    counts = chosen @ gives  # (q, subsets, G) candidates of the subset with each answer
    votes = chosen @ (gives * weights[..., None])
    right = chosen @ (gives * correct[..., None])
    there = counts > 0
    top = np.where(there, votes, -1.0).max(axis=-1, keepdims=True, initial=-1.0)
    wins = there & (votes >= top * (1.0 - _TIE))
    shares = np.where(wins, right / np.maximum(counts, 1.0), 0.0).sum(axis=-1)
    return np.asarray(shares / np.maximum(wins.sum(axis=-1), 1))


def _numbers(answers: Answers, total: int) -> Integers:
    """(Q, N) the number of candidate j's answer among the question's own; -1 for one without an answer."""
    numbers = np.full((len(answers), total), -1)
    for question, row in enumerate(answers):
        known: dict[str, int] = {}
        for j, answer in enumerate(row):
            if answer is not None:
                numbers[question, j] = known.setdefault(answer, len(known))
    return numbers


def _all_subsets(total: int, n: int) -> Floats:
    """(C(N, n), N) 1 for the members of each subset."""
    members = np.array(list(combinations(range(total), n)))
    chosen = np.zeros((len(members), total))
    np.put_along_axis(chosen, members, 1.0, axis=1)
    return chosen


def _drawn_subsets(generator: np.random.Generator, questions: int, total: int, n: int, draws: int) -> Floats:
    """(q, draws, N) 1 for the members of random subsets, drawn separately for each question."""
    keys = generator.random((questions, draws, total))
    members = np.argpartition(keys, n - 1, axis=-1)[..., :n]
    chosen = np.zeros_like(keys)
    np.put_along_axis(chosen, members, 1.0, axis=-1)
    return chosen
