"""First errors: what labels tell, what a threshold predicts, ProcessBench's F1, and the best threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scored_records import random_steps, record, steps_of

from dreamprm.config.errors import UserError
from dreamprm.evaluation.bootstrap import QuestionDraws
from dreamprm.evaluation.steps import (
    ERROR_FREE,
    UNKNOWN,
    ScoredSteps,
    f1_of,
    predict_first_errors,
    score_first_errors,
    threshold_curve,
)
from dreamprm.evaluation.steps.first_errors import hits


def published_f1(predictions: list[int], labels: list[int]) -> tuple[float, float, float]:
    """Section 3 of arXiv 2412.06559, written out: accuracies of both kinds of samples and their F1."""
    error = [p == y for p, y in zip(predictions, labels, strict=True) if y != -1]
    correct = [p == y for p, y in zip(predictions, labels, strict=True) if y == -1]
    a, b = sum(error) / len(error), sum(correct) / len(correct)
    return (2 * a * b / (a + b) if a + b else 0.0), a, b


@pytest.mark.parametrize(
    ("labels", "first"),
    [
        ([1, 1, 1], ERROR_FREE),
        ([1, 0, 0], 1),
        ([0, 0], 0),
        ([1, 0, 1], 1),
        ([1, 0, None], 1),
        ([1, None, 0], UNKNOWN),
        ([None, 0, 0], UNKNOWN),
        ([1, None], UNKNOWN),
        ([None], UNKNOWN),
    ],
)
def test_the_first_error_that_labels_tell(labels: list[float | None], first: int) -> None:
    assert steps_of((labels, [0.0] * len(labels))).first_error.tolist() == [first]


def test_soft_labels_tell_no_first_error_without_a_threshold() -> None:
    rows = ([1.0, 0.75, 0.25], [0, 0, 0]), ([1.0, 0.0], [0, 0])
    soft = steps_of(*rows)
    assert soft.soft and soft.first_error.tolist() == [UNKNOWN, UNKNOWN] and np.isnan(soft.right).all()
    # Right above the threshold, as where step records are written for formats of right and wrong steps.
    assert steps_of(*rows, label_threshold=0.25).first_error.tolist() == [2, 1]
    assert steps_of(*rows, label_threshold=0.0).first_error.tolist() == [ERROR_FREE, 1]


def test_steps_in_scope() -> None:
    steps = steps_of(
        ([1, 0, 0], [0] * 3), ([1, 1], [0] * 2), ([1, None, 0], [0] * 3), ([1, 0, None], [0] * 3)
    )
    counted = steps.in_scope("up_to_first_error").tolist()
    assert counted == [True, True, False, True, True, False, False, False, True, True, False]
    counted = steps.in_scope("all").tolist()
    assert counted == [True, True, True, True, True, True, False, True, True, True, False]


def test_the_first_step_below_the_threshold_is_predicted() -> None:
    steps = steps_of(([1, 0, 0], [0.5, -0.5, -2]), ([1, 1], [0.5, 0.1]), ([1, 0], [-1, -1]))
    assert predict_first_errors(steps, "s", 0.0).tolist() == [1, -1, 0]
    assert predict_first_errors(steps, "s", 0.1).tolist() == [1, -1, 0]  # equal is not below
    assert predict_first_errors(steps, "s", -1.0).tolist() == [2, -1, -1]


def test_f1_of_a_case_worked_out_by_hand() -> None:
    # Erroneous: found exactly, too late, exactly; correct: three of four. 2 (2/3)(3/4) / (2/3 + 3/4) = 12/17.
    steps = steps_of(
        ([1, 0], [1, -1]),
        ([0, 0], [1, -1]),
        ([1, 0], [1, -1]),
        ([1], [1]),
        ([1, 1], [1, 1]),
        ([1, 1], [1, -1]),
        ([1], [2]),
        ([1, None, 0], [1, 1, -1]),
    )  # unknown: counts nowhere
    hit = hits(predict_first_errors(steps, "s", 0.0), steps)
    score = score_first_errors(hit, steps, QuestionDraws(8, (0,), 100))
    assert score.error_accuracy.value == pytest.approx(2 / 3, abs=1e-15)
    assert score.correct_accuracy.value == 0.75
    assert score.f1.value == pytest.approx(12 / 17, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_f1_is_the_published_one(seed: int) -> None:
    steps = random_steps(seed)
    for threshold in (-1.0, 0.0, 0.3, 1.0):
        predictions = predict_first_errors(steps, "s", threshold)
        score = score_first_errors(hits(predictions, steps), steps, QuestionDraws(40, (0,), 1))
        wanted = published_f1(predictions.tolist(), steps.first_error.tolist())
        got = (score.f1.value, score.error_accuracy.value, score.correct_accuracy.value)
        assert got == pytest.approx(wanted, abs=1e-15)


def test_f1_of_nothing() -> None:
    assert f1_of(0.0, 0.0) == 0 and f1_of(0.0, 1.0) == 0 and np.isnan(f1_of(np.nan, 1.0))
    no_error = steps_of(([1], [1]), ([1, 1], [1, 1]))
    score = score_first_errors(np.ones(2), no_error, QuestionDraws(2, (0,), 10))
    assert np.isnan(score.f1.value) and np.isnan(score.error_accuracy.value)
    assert score.correct_accuracy.value == 1
    assert score.f1.to_json(0.95) is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_the_threshold_search_is_exact(seed: int, decimals: int) -> None:
    """No threshold gives a higher F1: every score, every middle between two, and both ends are tried."""
    steps = random_steps(seed, decimals=decimals)
    scores = np.unique(steps.log_odds["s"])
    tried = np.concatenate([scores, (scores[1:] + scores[:-1]) / 2, [scores[0] - 1, scores[-1] + 1]])

    def f1(threshold: float) -> float:
        predictions = predict_first_errors(steps, "s", threshold).tolist()
        return published_f1(predictions, steps.first_error.tolist())[0]

    curve = threshold_curve(steps, "s")
    assert curve.f1[curve.best] == pytest.approx(max(f1(t) for t in tried), abs=1e-15)
    # The curve is right everywhere, not at its highest point alone.
    for k, threshold in enumerate(curve.thresholds):
        predictions = predict_first_errors(steps, "s", threshold).tolist()
        wanted = published_f1(predictions, steps.first_error.tolist())
        got = (curve.f1[k], curve.error_accuracy[k], curve.correct_accuracy[k])
        assert got == pytest.approx(wanted, abs=1e-15)
    assert (np.diff(curve.thresholds) > 0).all()


def test_the_best_threshold_lies_in_the_middle_of_the_gap() -> None:
    steps = steps_of(([1, 0], [3, -2]), ([1, 1], [2, 4]))
    curve = threshold_curve(steps, "s")
    assert curve.f1[curve.best] == 1 and curve.thresholds[curve.best] == 0  # between -2 and 2


def test_neighbouring_floats_are_told_apart() -> None:
    low, high = 1.0, float(np.nextafter(1.0, 2.0))
    curve = threshold_curve(steps_of(([1, 0], [5, low]), ([1, 1], [high, 6])), "s")
    assert curve.f1[curve.best] == 1 and curve.thresholds[curve.best] == high
    assert curve.thresholds[-1] > 5 and curve.f1[-1] == 0 and curve.f1[0] == 0


def test_the_order_of_records_changes_nothing() -> None:
    steps = random_steps(3)
    order = np.random.default_rng(0).permutation(40)
    rows = [
        record(steps.labels[a:b].tolist(), steps.log_odds["s"][a:b].tolist(), question=int(k))
        for k in order
        for a, b in [(steps.offsets[k], steps.offsets[k + 1])]
    ]
    one, other = threshold_curve(steps, "s"), threshold_curve(ScoredSteps.of(rows), "s")
    np.testing.assert_array_equal(one.f1, other.f1)
    np.testing.assert_array_equal(one.thresholds, other.thresholds)


@pytest.mark.parametrize("rows", [[([1], [0])], [([0], [0])], [([1, None, 0], [0, 0, 0])]])
def test_a_threshold_needs_both_kinds_of_records(rows: list[tuple[list[float], list[float]]]) -> None:
    with pytest.raises(UserError, match="a threshold needs both"):
        threshold_curve(steps_of(*rows), "s")
