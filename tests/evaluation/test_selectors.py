"""Closed forms against plain enumeration of every subset."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dreamprm.evaluation import (
    CandidateScores,
    best_of_n_accuracy,
    majority_accuracy,
    oracle_accuracy,
    random_accuracy,
    subset_sizes,
)


def mean_over_subsets(pick, total, n):
    """Mean over all n-subsets of pick(list of candidate indices) -> expected accuracy."""
    return np.mean([pick(list(chosen)) for chosen in combinations(range(total), n)])


def best_by_score(scores, correct):
    def pick(chosen):
        top = max(scores[j] for j in chosen)
        return np.mean([correct[j] for j in chosen if scores[j] == top])

    return pick


def best_by_vote(answers, correct):
    def pick(chosen):
        votes = Counter(answers[j] for j in chosen if answers[j] is not None)
        if not votes:
            return 0.0
        top = [answer for answer, count in votes.items() if count == max(votes.values())]
        return np.mean([np.mean([correct[j] for j in chosen if answers[j] == answer]) for answer in top])

    return pick


def random_suite(seed, questions=12, total=7):
    generator = np.random.default_rng(seed)
    correct = generator.random((questions, total)) < 0.5
    scores = generator.integers(0, 4, (questions, total)).astype(float)  # few values, so many ties
    drawn = generator.integers(0, 5, (questions, total))
    answers = [[[None, "a", "b", "c", "d"][k] for k in row] for row in drawn]
    return scores, correct, answers


@pytest.mark.parametrize("n", range(1, 8))
def test_closed_forms_equal_enumeration(n):
    scores, correct, answers = random_suite(n)
    for got, pick in (
        (best_of_n_accuracy(scores, correct, n), lambda q: best_by_score(scores[q], correct[q])),
        (majority_accuracy(answers, correct, n), lambda q: best_by_vote(answers[q], correct[q])),
        (oracle_accuracy(correct, n), lambda q: lambda chosen: float(correct[q][chosen].any())),
        (random_accuracy(correct), lambda q: lambda chosen: correct[q][chosen].mean()),
    ):
        expected = [mean_over_subsets(pick(q), correct.shape[1], n) for q in range(len(correct))]
        np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("n", range(1, 8))
def test_closed_forms_of_credits_equal_enumeration(n):
    scores, _, answers = random_suite(n)
    credit = np.random.default_rng(n).integers(0, 5, scores.shape) / 4
    for got, pick in (
        (best_of_n_accuracy(scores, credit, n), lambda q: best_by_score(scores[q], credit[q])),
        (majority_accuracy(answers, credit, n), lambda q: best_by_vote(answers[q], credit[q])),
        (oracle_accuracy(credit, n), lambda q: lambda chosen: credit[q][chosen].max()),
        (random_accuracy(credit), lambda q: lambda chosen: credit[q][chosen].mean()),
    ):
        expected = [mean_over_subsets(pick(q), credit.shape[1], n) for q in range(len(credit))]
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_hand_worked_example():
    # Scores 3 > 2 = 2 > 1, only the second right. Of 6 pairs the tied two meet once (share 1/2), the second
    # wins against the last (1), so (1/2 + 1) / 6 = 1/4; of all four candidates the first wins.
    scores, correct = [[3.0, 2.0, 2.0, 1.0]], np.array([[False, True, False, False]])
    assert best_of_n_accuracy(scores, correct, 2) == pytest.approx([0.25])
    assert best_of_n_accuracy(scores, correct, 4) == pytest.approx([0.0])
    # Votes a, a, b, none: a pair is aa (a), ab twice (tie), a- twice (a), b- (b): a wins (1 + 1 + 2) / 6.
    answers, a_right = [["a", "a", "b", None]], np.array([[True, True, False, False]])
    assert majority_accuracy(answers, a_right, 2) == pytest.approx([4 / 6])


def test_one_candidate_is_a_random_one():
    scores, correct, _ = random_suite(0)
    np.testing.assert_allclose(best_of_n_accuracy(scores, correct, 1), random_accuracy(correct), atol=1e-12)
    np.testing.assert_allclose(oracle_accuracy(correct, 1), random_accuracy(correct), atol=1e-12)


def test_infinite_scores_order_and_many_candidates_stay_exact():
    correct = np.zeros((1, 64), dtype=bool)
    correct[0, 0] = True
    scores = np.full((1, 64), -np.inf)
    scores[0, 0] = np.inf
    # The best candidate is in half of all 32-subsets of 64; C(64, 32) does not fit an int64.
    assert best_of_n_accuracy(scores, correct, 32) == pytest.approx([0.5], abs=1e-14)
    assert oracle_accuracy(correct, 32) == pytest.approx([0.5], abs=1e-14)
    assert majority_accuracy([["a"] + [None] * 63], correct, 32) == pytest.approx([0.5], abs=1e-14)


def test_candidates_that_share_an_answer_but_not_its_mark_earn_their_mean():
    answers, correct = [["a", "a", "a", "b"]], np.array([[True, False, False, False]])
    assert majority_accuracy(answers, correct, 4) == pytest.approx([1 / 3])


def test_no_answer_at_all_is_wrong():
    assert majority_accuracy([[None, None]], np.array([[True, True]]), 2).tolist() == [0.0]


def test_subset_sizes():
    assert [subset_sizes(total) for total in (1, 2, 3, 8, 9)] == [
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 4, 8),
        (1, 2, 4, 8, 9),
    ]
    with pytest.raises(ValueError, match="at least one candidate, got 0"):
        subset_sizes(0)


def test_candidate_scores_table():
    scores, correct, answers = random_suite(3)
    suite = CandidateScores(correct, answers, {"orm": scores, "dreamprm": scores, "base_head": -scores})
    np.testing.assert_array_equal(suite.accuracy("base_head", 4), best_of_n_accuracy(-scores, correct, 4))
    np.testing.assert_array_equal(suite.accuracy("oracle", 4), oracle_accuracy(correct, 4))
    with pytest.raises(
        ValueError, match="unknown selector 'drm'; this suite has random, majority, oracle, orm"
    ):
        suite.accuracy("drm", 4)
    with pytest.raises(ValueError, match="may not be named oracle"):
        CandidateScores(correct, answers, {"oracle": scores})


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda c: random_accuracy(c.astype(int)), r"array of bool, or of .* got int64 of shape \(12, 7\)"),
        (lambda c: random_accuracy(c * 1.5), r"credits must lie in \[0, 1\], got values from 0.0 to 1.5"),
        (lambda c: random_accuracy(np.where(c, np.nan, 0.5)), "credits must lie in"),
        (lambda c: random_accuracy(c[:0]), "non-empty"),
        (lambda c: oracle_accuracy(c, 8), "between 1 and the 7 candidates of a question, got 8"),
        (lambda c: oracle_accuracy(c, 0), "got 0"),
        (lambda c: best_of_n_accuracy(np.zeros((12, 6)), c, 2), r"same shape, got \(12, 6\) and \(12, 7\)"),
        (lambda c: best_of_n_accuracy(np.where(c, np.nan, 0.0), c, 2), r"is NaN \(one of \d+\)"),
        (lambda c: majority_accuracy([["a"] * 7] * 11, c, 2), r"12 lists of 7; got 11 lists of \[7\]"),
        (lambda c: majority_accuracy([["a"] * 6] * 12, c, 2), r"got 12 lists of \[6\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_suite(1)[1])
