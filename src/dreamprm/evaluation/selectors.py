"""Best-of-N selection: the expected accuracy of each way to pick one of n candidate chains of thought.

A question has N sampled candidates. What a selector would score with n <= N candidates is reported as the
mean over *all* subsets of size n, in closed form, so the figure neither depends on which n were kept nor can
be chosen on the test answers (DreamPRM, arXiv 2505.20241, picks its 4 of 8 that way; we do not).

`correct` is right or wrong, or a credit in [0, 1] if answers are graded; a pick earns its credit.

Every function returns one value per question, (Q,) float64 in [0, 1]; means and intervals are taken later
(dreamprm.evaluation.bootstrap).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Answers = Sequence[Sequence[str | None]]


def checked_correct(correct: ArrayLike, n: int) -> Floats:
    """Check `correct` and the subset size n; returns (Q, N) float64 outcomes in [0, 1].

    Raises: ValueError for anything but a non-empty (Q, N) array of bool or of floats in [0, 1], or n outside
        1..N.
    """
    array = np.asarray(correct)
    # Integers are rejected: they may be option numbers or counts passed by mistake.
    if array.dtype.kind not in "bf" or array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"correct must be a non-empty (questions, candidates) array of bool, or of credits "
            f"in [0, 1], got {array.dtype} of shape {array.shape}"
        )
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"credits must lie in [0, 1], got values from {array.min()} to {array.max()}")
    if not 1 <= n <= array.shape[1]:
        raise ValueError(f"n must be between 1 and the {array.shape[1]} candidates of a question, got {n}")
    return array.astype(np.float64)


def _subset_share(total: int, n: int) -> Floats:
    """share[k] = C(k, n) / C(total, n): the chance that a random n-subset lies within k given candidates."""
    every = math.comb(total, n)
    # Exact integers up to the one division: C(64, 32) does not fit an int64.
    return np.array([math.comb(k, n) / every for k in range(total + 1)])


def random_accuracy(correct: ArrayLike) -> Floats:
    """Expected accuracy of one candidate drawn at random: mean_j correct_j, whatever n is.

    Args: correct (Q, N) bool, or credits. Returns: (Q,).
    Raises: ValueError as `checked_correct`.
    """
    return np.asarray(checked_correct(correct, 1).mean(axis=1))


def first_accuracy(correct: ArrayLike) -> Floats:
    """Accuracy of the first candidate in file order, whatever n is: the zero-shot response.

    It is one draw of what `random_accuracy` averages over, and the only selector that depends on the order of
    the candidates.

    Args: correct (Q, N) bool, or credits. Returns: (Q,).
    Raises: ValueError as `checked_correct`.
    """
    return checked_correct(correct, 1)[:, 0]


def oracle_accuracy(correct: ArrayLike, n: int) -> Floats:
    """Ceiling of every selector: 1 - C(wrong, n) / C(N, n), the chance that n candidates hold a right one.

    With credits, the expected maximum: what best-of-n earns with the credits themselves as scores.

    Args: correct (Q, N) bool, or credits; n in 1..N. Returns: (Q,).
    Raises: ValueError for a bad shape or n.
    """
    array = checked_correct(correct, n)
    if not np.isin(array, (0.0, 1.0)).all():
        return best_of_n_accuracy(array, array, n)
    wrong = (array == 0).sum(axis=1)
    return 1.0 - _subset_share(array.shape[1], n)[wrong]


def best_of_n_accuracy(scores: ArrayLike, correct: ArrayLike, n: int) -> Floats:
    """Expected accuracy of the highest-scored of n candidates, averaged over all subsets of size n.

    For candidate j, let l_j be the number of candidates scored strictly lower and e_j of those tied with it,
    itself included. One of its tie group wins if the subset lies within the l_j + e_j candidates scored at
    most as high, and not within the l_j lower ones; ties are shared equally:
        sum_j correct_j * [C(l_j + e_j, n) - C(l_j, n)] / (e_j * C(N, n)).

    Args:
        scores: (Q, N) float, higher is better; infinities order as usual.
        correct: (Q, N) bool, or credits in [0, 1].
        n: size of the subsets, 1..N.
    Returns: (Q,).
    Raises: ValueError for shapes that differ, a bad n, or a NaN score (it has no rank).
    """
    right = checked_correct(correct, n)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != right.shape:
        raise ValueError(f"scores and correct must have the same shape, got {values.shape} and {right.shape}")
    if np.isnan(values).any():
        question, candidate = np.argwhere(np.isnan(values))[0]
        raise ValueError(
            f"scores[{question}, {candidate}] is NaN (one of {int(np.isnan(values).sum())}), "
            f"which has no rank; check that the model's training did not diverge"
        )
    lower, at_most = _ranks(values)
    share = _subset_share(right.shape[1], n)
    weight = (share[at_most] - share[lower]) / (at_most - lower)  # (Q, N), rows sum to 1
    return (weight * right).sum(axis=1)


def _ranks(values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(Q, N) each, by row: how many values are lower, and how many are lower or the same."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.arange(values.shape[1])
    new = np.ones(values.shape, dtype=bool)  # where a group of ties begins
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    # Read from the right, the begin of a group is the end of the one before.
    ends = np.where(np.roll(new, -1, axis=1), places + 1, values.shape[1])
    last = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    lower, at_most = np.empty_like(order), np.empty_like(order)
    np.put_along_axis(lower, order, first, axis=1)
    np.put_along_axis(at_most, order, last, axis=1)
    return lower, at_most


def majority_accuracy(answers: Answers, correct: ArrayLike, n: int) -> Floats:
    """Expected accuracy of the most frequent final answer among n candidates, averaged over all subsets.

    Self-consistency. Ties for the most votes are broken uniformly at random. A candidate without an answer
    (None) takes a place in the subset but cannot be voted for; a subset without any answer is wrong. If
    candidates with the same answer differ in `correct`, the vote earns their mean.

    Args:
        answers: Q lists of N normalised final answers, compared as strings; None without an answer.
        correct: (Q, N) bool, or credits in [0, 1].
        n: size of the subsets, 1..N.
    Returns: (Q,).
    Raises: ValueError for shapes that differ or a bad n.
    """
    right = checked_correct(correct, n)
    require_answers(answers, right)
    # Few patterns of vote counts occur, so each is computed once.
    chances: dict[tuple[int, ...], dict[int, float]] = {}
    result = np.zeros(len(right))
    for index, row in enumerate(answers):
        votes = Counter(answer for answer in row if answer is not None)
        pattern = tuple(sorted(votes.values()))
        if pattern not in chances:
            chances[pattern] = _winning_chances(pattern, right.shape[1], n)
        for answer, count in votes.items():
            # Any v of an answer's candidates are equally likely: their expected mean is the whole answer's.
            earned = sum(float(ok) for ok, given in zip(right[index], row) if given == answer) / count
            result[index] += chances[pattern][count] * earned
    return result


def require_answers(answers: Answers, correct: Floats) -> None:
    """Check that the answers are Q lists of N.

    Raises: ValueError with both shapes.
    """
    if len(answers) != len(correct) or any(len(row) != correct.shape[1] for row in answers):
        sizes = sorted({len(row) for row in answers})
        raise ValueError(
            f"answers must hold one entry per candidate, {correct.shape[0]} lists of "
            f"{correct.shape[1]}; got {len(answers)} lists of {sizes}"
        )


def _winning_chances(sizes: tuple[int, ...], total: int, n: int) -> dict[int, float]:
    """{size: chance that an answer given by so many of the `total` candidates wins the vote in an n-subset}.

    Counts subsets exactly: an answer wins with v votes if no other has more; with t others at v, its share
    is 1 / (t + 1). ways[t, k] counts how the other answers give k candidates, none above v, t exactly at v.
    """
    silent = total - sum(sizes)
    chances: dict[int, float] = {}
    for size in set(sizes):
        rivals = list(sizes)
        rivals.remove(size)
        won = 0.0
        for v in range(1, min(size, n) + 1):
            rest = n - v
            ways = {(0, 0): 1}
            for rival in rivals:
                grown: dict[tuple[int, int], int] = {}
                for (t, k), count in ways.items():
                    for taken in range(min(rival, v, rest - k) + 1):
                        key = (t + (taken == v), k + taken)
                        grown[key] = grown.get(key, 0) + count * math.comb(rival, taken)
                ways = grown
            won += math.comb(size, v) * sum(
                count * math.comb(silent, rest - k) / (t + 1) for (t, k), count in ways.items()
            )
        chances[size] = won / math.comb(total, n)
    return chances


@dataclass(frozen=True)
class CandidateScores:
    """One suite's candidates as arrays, and the scores that selectors gave them.

    Attributes:
        correct: (Q, N) bool, or credits in [0, 1].
        answers: Q lists of N normalised final answers or None.
        scores: {selector name: (Q, N) float, higher is better}; a name may not be random, majority or oracle.
    Raises: ValueError for a score under a reserved name; shapes are checked when accuracies are asked for.
    """

    correct: NDArray[np.bool_] | Floats
    answers: Answers
    scores: Mapping[str, ArrayLike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reserved = sorted(set(self.scores) & set(UNSCORED))
        if reserved:
            raise ValueError(f"scores may not be named {', '.join(reserved)}: these selectors need no score")

    def accuracy(self, selector: str, n: int) -> Floats:
        """(Q,) expected accuracy of a selector with n candidates.

        Raises: ValueError for an unknown selector (the message lists the known ones) or a bad n.
        """
        if selector in UNSCORED:
            return UNSCORED[selector](self, n)
        if selector not in self.scores:
            known = ", ".join((*UNSCORED, *self.scores))
            raise ValueError(f"unknown selector {selector!r}; this suite has {known}")
        return best_of_n_accuracy(self.scores[selector], self.correct, n)


UNSCORED: Mapping[str, Callable[[CandidateScores, int], Floats]] = {
    "random": lambda suite, n: random_accuracy(suite.correct),
    "majority": lambda suite, n: majority_accuracy(suite.answers, suite.correct, n),
    "oracle": lambda suite, n: oracle_accuracy(suite.correct, n),
}
"""Selectors that need no score."""


def subset_sizes(total: int) -> tuple[int, ...]:
    """The n for which accuracy over n is shown: powers of two below N, then N. Example: 8 -> (1, 2, 4, 8).

    Raises: ValueError for total < 1.
    """
    if total < 1:
        raise ValueError(f"a question needs at least one candidate, got {total}")
    return (*(2**k for k in range((total - 1).bit_length())), total)
