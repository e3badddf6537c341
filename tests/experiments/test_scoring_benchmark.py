"""The benchmark of scoring: all of its ways give the same scores, and its page tells what was measured."""

from __future__ import annotations

import pytest

from experiments.benchmarks.scoring import OURS, PUBLIC, measure, page


@pytest.mark.parametrize("readout, ways", [("step_end", 5), ("chat_suffix", 3)])
def test_all_ways_give_the_same_scores(readout: str, ways: int) -> None:
    point = measure("tiny", readout, repetitions=1, questions=1, question=4, step=3, side=56)
    assert len(point.speeds) == len(point.error) == len(point.log_odds_error) == ways
    assert max(point.log_odds_error.values()) <= 1e-5 < 1e-2 < point.deviation
    assert max(point.error.values()) <= max(point.log_odds_error.values()) / 4 + 1e-12  # the sigmoid's slope
    assert min(point.ratio(OURS, PUBLIC)) > 1
    text = page([point], command="the command", repetitions=1, questions=1)
    assert "Scores equal to 1e-5: met" in text and text.count(f"| {readout} |") == ways
