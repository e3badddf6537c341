"""Weighted self-consistency against plain enumeration, majority and hand-worked cases."""

from itertools import combinations

import numpy as np
import pytest

from dreamprm.evaluation import majority_accuracy, random_accuracy
from dreamprm.evaluation.votes import weighted_vote_accuracy, winning_candidates


def plain_enumeration(answers, scores, correct, n):
    """One question, one subset at a time, in the words of the definition."""
    outcomes = []
    for subset in combinations(range(len(answers)), n):
        votes = {}
        for j in subset:
            if answers[j] is not None:
                votes[answers[j]] = votes.get(answers[j], 0.0) + 1 / (1 + np.exp(-scores[j]))
        top = [a for a, vote in votes.items() if vote >= max(votes.values()) - 1e-12]
        shares = [np.mean([correct[j] for j in subset if answers[j] == a]) for a in top]
        outcomes.append(np.mean(shares) if shares else 0.0)
    return np.mean(outcomes)


def random_suite(seed, questions=6, total=7):
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, 4, (questions, total))
    answers = [[[None, "a", "b", "c"][k] for k in row] for row in drawn]
    scores = generator.integers(-2, 3, (questions, total)).astype(float)  # few values, so many ties
    return answers, scores, generator.random((questions, total)) < 0.5


@pytest.mark.parametrize("seed", range(12))
def test_equals_enumeration(seed):
    answers, scores, correct = random_suite(seed, total=3 + seed % 5)
    for n in range(1, correct.shape[1] + 1):
        accuracy, error = weighted_vote_accuracy(answers, scores, correct, n)
        wanted = [plain_enumeration(a, s, c, n) for a, s, c in zip(answers, scores, correct)]
        np.testing.assert_allclose(accuracy, wanted, atol=1e-12)
        assert not error.any()


@pytest.mark.parametrize("n", [1, 3, 7])
def test_equal_scores_are_the_majority_vote(n):
    answers, _, correct = random_suite(4)
    for score in (-700.0, 0.0, 40.0):
        accuracy, _ = weighted_vote_accuracy(answers, np.full(correct.shape, score), correct, n)
        np.testing.assert_allclose(accuracy, majority_accuracy(answers, correct, n), atol=1e-12)


def test_one_candidate_is_a_random_one_where_all_answer():
    answers = [["a", "b", "b"], ["c", "c", "d"]]
    correct = np.array([[True, False, False], [False, True, True]])
    accuracy, _ = weighted_vote_accuracy(answers, np.arange(6.0).reshape(2, 3), correct, 1)
    np.testing.assert_allclose(accuracy, random_accuracy(correct))


def test_hand_worked_example():
    # Weights 0.9 for a; 0.6 + 0.4 for b. All three: b has 1.0 > 0.9. Pairs: a against each b wins, b with b.
    odds = np.log([[0.9 / 0.1, 0.6 / 0.4, 0.4 / 0.6]])
    correct = np.array([[False, True, True]])
    answers = [["a", "b", "b"]]
    assert weighted_vote_accuracy(answers, odds, correct, 3)[0] == pytest.approx([1.0])
    assert weighted_vote_accuracy(answers, odds, correct, 2)[0] == pytest.approx([1 / 3])
    # Two votes of 0.45 tie with one of 0.9 but for rounding: half right.
    odds = np.log([[0.9 / 0.1, 0.45 / 0.55, 0.45 / 0.55]])
    assert weighted_vote_accuracy(answers, odds, correct, 3)[0] == pytest.approx([0.5])


def test_scores_far_down_keep_their_ratio():
    # sigmoid(-800) is 0 in floating point; three votes of e^-800 still lose to one of e^-798 = 7.4 e^-800.
    answers, correct = [["a", "b", "b", "b"]], np.array([[True, False, False, False]])
    odds = np.array([[-798.0, -800.0, -800.0, -800.0]])
    assert weighted_vote_accuracy(answers, odds, correct, 4)[0] == pytest.approx([1.0])


def test_an_answer_that_nobody_in_the_subset_gives_does_not_tie_with_weights_of_nothing():
    # Of the pair without candidate 0 both weights vanish beside the question's largest.
    answers, correct = [["a", "b", "b"]], np.array([[True, False, False]])
    odds = np.array([[0.0, -900.0, -900.0]])
    assert weighted_vote_accuracy(answers, odds, correct, 2)[0] == pytest.approx([2 / 3])


def test_no_answer_at_all_is_wrong():
    accuracy, _ = weighted_vote_accuracy([[None, None]], np.zeros((1, 2)), np.array([[True, True]]), 2)
    assert accuracy.tolist() == [0.0]


def test_order_of_candidates_changes_nothing():
    answers, scores, correct = random_suite(9)
    order = np.random.default_rng(1).permutation(correct.shape[1])
    for n in (2, 4, 7):
        here, _ = weighted_vote_accuracy(answers, scores, correct, n)
        there, _ = weighted_vote_accuracy(
            [[row[j] for j in order] for row in answers], scores[:, order], correct[:, order], n
        )
        np.testing.assert_allclose(here, there, atol=1e-13)


def test_drawn_subsets_agree_with_all_of_them_within_the_stated_error():
    answers, scores, correct = random_suite(2, questions=40, total=9)
    exact, _ = weighted_vote_accuracy(answers, scores, correct, 4)
    drawn, error = weighted_vote_accuracy(answers, scores, correct, 4, most_subsets=100, draws=500, seed=3)
    z = (drawn - exact)[error > 0] / error[error > 0]
    assert len(z) > 30
    # The standardised errors of about 40 questions have mean square 1 +- sqrt(2/40) = 0.22; 3 of these.
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.67)
    again, _ = weighted_vote_accuracy(answers, scores, correct, 4, most_subsets=100, draws=500, seed=3)
    np.testing.assert_array_equal(again, drawn)


def test_pieces_change_nothing(monkeypatch):
    from dreamprm.evaluation import votes as weighted_votes

    answers, scores, correct = random_suite(5)
    whole, _ = weighted_vote_accuracy(answers, scores, correct, 4)
    monkeypatch.setattr(weighted_votes, "_CELLS_AT_ONCE", 1)
    np.testing.assert_array_equal(weighted_vote_accuracy(answers, scores, correct, 4)[0], whole)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a, s, c: (a, s[:, 1:], c, 2), r"of the shape of correct, \(6, 7\); got shape \(6, 6\)"),
        (lambda a, s, c: (a, np.where(c, np.nan, s), c, 2), r"with \d+ values not finite"),
        (lambda a, s, c: (a[1:], s, c, 2), "got 5 lists of"),
        (lambda a, s, c: (a, s, c, 8), "between 1 and the 7 candidates of a question, got 8"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        weighted_vote_accuracy(*change(*random_suite(0)))


def test_winning_candidates_are_those_whose_answer_earns():
    assert winning_candidates(["a", "b", None, "b"], np.zeros(4)) == [1, 3]
    assert winning_candidates(["a", "b", None, "b"], np.array([3.0, -2, 9, -2])) == [0]
    assert winning_candidates(["a", "b", None, "c"], np.full(4, -900.0)) == [0, 1, 3]
    assert winning_candidates([None, None], np.zeros(2)) == []
    answers, scores, correct = random_suite(11, questions=30)
    accuracy, _ = weighted_vote_accuracy(answers, scores, correct, correct.shape[1])
    for question, row in enumerate(answers):
        winners = winning_candidates(row, scores[question])
        names = {row[j] for j in winners}
        shares = [np.mean([correct[question, j] for j in winners if row[j] == name]) for name in names]
        assert accuracy[question] == pytest.approx(np.mean(shares) if shares else 0.0)
