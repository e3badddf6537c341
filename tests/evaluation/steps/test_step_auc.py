"""Step AUC against counting pairs, and its bootstrap samples against samples made record by record."""

from __future__ import annotations

import numpy as np
import pytest
from scored_records import random_steps, record, steps_of

from dreamprm.evaluation.bootstrap import QuestionDraws
from dreamprm.evaluation.steps import ScoredSteps
from dreamprm.evaluation.steps.auc import mean_record_auc, pooled_auc, record_aucs

DRAWS = QuestionDraws(40, (0,), 5)


def counted(scores: np.ndarray, right: np.ndarray) -> float:
    """The share of pairs, one by one."""
    good, bad = scores[right == 1], scores[right == 0]
    pairs = [(a > b) + 0.5 * (a == b) for a in good for b in bad]
    return float(np.mean(pairs)) if pairs else float("nan")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scope", ["up_to_first_error", "all"])
def test_auc_counts_pairs(seed: int, scope: str) -> None:
    steps = random_steps(seed)
    taken = steps.in_scope(scope)
    wanted = counted(steps.log_odds["s"][taken], steps.right[taken])
    assert 0.6 < wanted < 1  # the scores lean towards the labels
    assert pooled_auc(steps, "s", scope, DRAWS).value == pytest.approx(wanted, abs=1e-12)
    by_record = [
        counted(steps.log_odds["s"][a:b][taken[a:b]], steps.right[a:b][taken[a:b]])
        for a, b in zip(steps.offsets, steps.offsets[1:])
    ]
    np.testing.assert_allclose(record_aucs(steps, "s", scope), by_record, atol=1e-12)
    assert mean_record_auc(steps, "s", scope, DRAWS).value == pytest.approx(np.nanmean(by_record), abs=1e-12)


def test_steps_behind_the_first_error_count_in_one_scope_only() -> None:
    # The first error scores below both right steps, the one behind it above them.
    steps = steps_of(([1, 1, 0, 0], [1, 2, 0, 3]))
    draws = QuestionDraws(1, (0,), 2)
    assert pooled_auc(steps, "s", "up_to_first_error", draws).value == 1
    assert pooled_auc(steps, "s", "all", draws).value == 0.5


def test_pooled_auc_gains_from_easy_questions_and_the_records_own_does_not() -> None:
    steps = steps_of(([1, 1], [5, 5]), ([1, 0], [-5, -5]))
    draws = QuestionDraws(2, (0,), 2)
    assert pooled_auc(steps, "s", "all", draws).value == pytest.approx(2.5 / 3)
    assert mean_record_auc(steps, "s", "all", draws).value == 0.5


def test_bootstrap_samples_draw_whole_questions() -> None:
    steps = random_steps(1, questions=15)
    numbers, total = steps.question_numbers
    assert total == 15
    draws = QuestionDraws(15, (7, 1), 30)
    counts = np.concatenate(list(draws)).astype(int)
    pooled = pooled_auc(steps, "s", "all", draws)
    mean = mean_record_auc(steps, "s", "all", draws)
    for row, drawn in enumerate(counts):
        rows = [
            record(steps.labels[a:b].tolist(), steps.log_odds["s"][a:b].tolist())
            for r, (a, b) in enumerate(zip(steps.offsets, steps.offsets[1:]))
            for _ in range(drawn[numbers[r]])
        ]
        sample = ScoredSteps.of(rows)
        assert pooled.drawn[row] == pytest.approx(counted(sample.log_odds["s"], sample.right), abs=1e-12)
        assert mean.drawn[row] == pytest.approx(np.nanmean(record_aucs(sample, "s", "all")), abs=1e-12)


def test_the_interval_covers_the_true_auc() -> None:
    """Scores of right steps ~ N(1, 1), of wrong ones N(0, 1): AUC = Phi(1 / sqrt 2) = 0.7602."""
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        rows = [([1, 0], [1 + generator.normal(), generator.normal()]) for _ in range(60)]
        estimate = pooled_auc(steps_of(*rows), "s", "all", QuestionDraws(60, (seed,), 400))
        ends = estimate.to_json(0.95)
        assert ends is not None
        covered += ends["low"] <= 0.76025 <= ends["high"]
    # Binomial(100, 0.95) is below 88 once in 250 times; the seeds are fixed.
    assert 88 <= covered <= 100
