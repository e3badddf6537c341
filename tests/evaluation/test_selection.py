"""Selectors of a suite against enumeration, also where questions have different numbers of candidates."""

from itertools import combinations
from math import log
from pathlib import Path

import numpy as np
import pytest
from scored_candidates import candidate, random_records, record, write

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.evaluation.scored_suite import ScoredSuite, open_scored_suite
from dreamprm.evaluation.selection import Selection, scores_of
from dreamprm.evaluation.selector_names import ordered_scorers

SUM = {"vanilla": "sum_log_odds", "dreamprm": "sum_log_odds"}


def suite_of(path: Path, records, **options) -> ScoredSuite:
    return open_scored_suite([write(path / "suite.jsonl", records)], **options)


def enumerated(votes, scores, correct, n, selector):
    """One question: the mean over its subsets of the expected accuracy of what is picked."""
    outcomes = []
    for subset in combinations(range(len(correct)), n):
        if selector == "best":
            top = max(scores[j] for j in subset)
            outcomes.append(np.mean([correct[j] for j in subset if scores[j] == top]))
            continue
        weights = {}
        for j in subset:
            if votes[j] is not None:
                weight = 1.0 if selector == "majority" else 1 / (1 + np.exp(-scores[j]))
                weights[votes[j]] = weights.get(votes[j], 0.0) + weight
        top = [a for a, w in weights.items() if w >= max(weights.values()) * (1 - 1e-12)]
        outcomes.append(np.mean([np.mean([correct[j] for j in subset if votes[j] == a]) for a in top]))
    return np.mean(outcomes)


@pytest.mark.parametrize("ties", [False, True])
def test_all_selectors_equal_enumeration_with_uneven_questions(tmp_path, ties):
    records = random_records(3, questions=9, total=6, ties=ties)
    for q, one in enumerate(records):
        one["candidates"] = one["candidates"][: 3 + q % 4]
    suite = suite_of(tmp_path, records, uneven=True)
    selection = Selection(suite, SUM)
    assert selection.size == 6 and set(suite.sizes) == {3, 4, 5, 6}
    scores = scores_of(suite, "dreamprm", "sum_log_odds")
    for n in range(1, 7):
        for name, kind in (("dreamprm", "best"), ("majority", "majority"), ("weighted_dreamprm", "weighted")):
            wanted = [
                enumerated(v, s, c, min(n, len(c)), kind)
                for v, s, c in zip(suite.votes, scores, suite.correct)
            ]
            np.testing.assert_allclose(selection.outcome(name, n), wanted, atol=1e-12, err_msg=f"{name} {n}")
    assert selection.standard_error("weighted_dreamprm", 6) == 0.0
    np.testing.assert_allclose(selection.outcome("first", 4), [row[0] for row in suite.correct])
    np.testing.assert_allclose(selection.outcome("random", 4), [np.mean(row) for row in suite.correct])
    np.testing.assert_allclose(selection.outcome("oracle", 6), [any(row) for row in suite.correct])


def test_order_of_candidates_changes_nothing_but_first(tmp_path):
    records = random_records(5, ties=True)
    here = Selection(suite_of(tmp_path, records), SUM)
    draws = np.random.default_rng(0)
    for one in records:
        draws.shuffle(one["candidates"])
    there = Selection(suite_of(tmp_path, records), SUM)
    assert here.selectors == there.selectors
    for selector in here.selectors:
        for n in (1, 2, 4, 6):
            same = np.allclose(here.outcome(selector, n), there.outcome(selector, n), atol=1e-12)
            assert same == (selector != "first"), selector


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_scores_are_the_aggregates_by_hand(tmp_path, aggregation):
    p = np.array([0.9, 0.2, 0.6])
    z = np.log(p / (1 - p))
    share = {"mean": p.mean(), "min": 0.2, "max": 0.9, "prod": p.prod(), "last": 0.6}
    wanted = {
        "sum_log_odds": z.sum(),
        "mean_log_odds": z.mean(),
        **{name: log(value / (1 - value)) for name, value in share.items()},
    }
    suite = suite_of(tmp_path, [record("q", [candidate("4", True, prm=z.tolist(), orm=[0.7])])])
    for temperature in (1.0, 2.0):
        ((score,),) = scores_of(suite, "prm", aggregation, temperature=temperature)
        assert score == pytest.approx(wanted[aggregation] / temperature, abs=1e-12)
        ((score,),) = scores_of(suite, "orm", aggregation, temperature=temperature)
        assert score == pytest.approx(0.7 / temperature, abs=1e-12)


def test_picks_name_all_that_tie_and_what_they_earn(tmp_path):
    candidates = [
        candidate("5", False, prm=[1.0]),
        candidate("4", True, prm=[3.0]),
        candidate("6", False, prm=[3.0]),
        candidate("5", False, prm=[1.0]),
        candidate(None, False, prm=[-9.0]),
    ]
    selection = Selection(suite_of(tmp_path, [record("q", candidates)]), {"prm": "sum_log_odds"})
    (picks,) = selection.picks()
    assert picks == {
        "random": {"candidates": None, "accuracy": 0.2},
        "first": {"candidates": [0], "accuracy": 0.0},
        "majority": {"candidates": [0, 3], "accuracy": 0.0},
        "prm": {"candidates": [1, 2], "accuracy": 0.5},
        # Twice sigmoid(1) = .731 for 5 against once sigmoid(3) = .953 for 4 and for 6.
        "weighted_prm": {"candidates": [0, 3], "accuracy": 0.0},
        "oracle": {"candidates": None, "accuracy": 1.0},
    }


def test_drawn_subsets_state_the_error_of_the_mean(tmp_path):
    suite = suite_of(tmp_path, random_records(1, questions=4, total=22))
    selection = Selection(suite, {"dreamprm": "mean_log_odds"})
    selection.outcome("weighted_dreamprm", 11)  # C(22, 11) = 705,432
    # At most 1/2 a subset: 0.5 / sqrt(2000 draws * 4 questions) = 0.0056.
    assert 0 < selection.standard_error("weighted_dreamprm", 11) <= 0.0056
    assert selection.standard_error("weighted_dreamprm", 2) == 0.0


def test_the_order_of_the_tables():
    assert ordered_scorers(["dreamprm", "mine", "orm", "vanilla", "mine"]) == [
        "orm",
        "vanilla",
        "mine",
        "dreamprm",
    ]


def test_sizes_that_no_question_has_are_refused(tmp_path):
    selection = Selection(suite_of(tmp_path, random_records(0, questions=2)), SUM)
    with pytest.raises(ValueError, match="between 1 and the 6 candidates of a question, got 7"):
        selection.outcome("dreamprm", 7)
