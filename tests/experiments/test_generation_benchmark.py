"""The generation benchmark on a tiny model: every way makes all tokens, and the page says what was met."""

from __future__ import annotations

import pytest
import transformers

from experiments.benchmarks import generation
from experiments.benchmarks.generation import Point


def _point(n: int, generator: float) -> Point:
    return Point(
        "5M",
        5_100_000,
        1,
        n,
        {
            "bare loop": [10.0, 20.0, 40.0],
            "num_return_sequences": [20.0] * 3,
            "repeated cache": [30.0] * 3,
            "generator": [generator * speed for speed in (10.0, 20.0, 40.0)],
        },
    )


def test_every_way_makes_all_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    transformers.utils.logging.disable_progress_bar()
    points = generation.measure("tiny", [(1, 2), (2, 1)], repetitions=2, tokens=9, new=3)
    transformers.utils.logging.enable_progress_bar()
    assert [(point.prefixes, point.n) for point in points] == [(1, 2), (2, 1)]
    for point in points:
        assert list(point.speeds) == ["bare loop", "num_return_sequences", "repeated cache", "generator"]
        assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in point.speeds.values())
    assert capsys.readouterr().out.count("| 2 x 1 |") == 1


def test_the_page_says_whether_the_target_was_met() -> None:
    slow, fast = _point(8, 2.9), _point(8, 3.0)
    assert slow.ratio("generator", "bare loop") == pytest.approx([2.9] * 3)
    text = generation.page([_point(1, 1.0), fast], command="python x", repetitions=3)
    assert "At least 3 times the bare loop at n = 8: met (5M: 3.00 (3.00-3.00))." in text
    assert "`python x`, 20" in text and "over 3 repetitions" in text
    row = text.splitlines()[-1]
    assert row == (
        "| 5.1M | 1 x 8 | 20 (10-40) | 20 (20-20) | 30 (30-30) | 60 (30-120) | 3.00 (3.00-3.00) "
        "| 3.00 (1.50-6.00) | 2.00 (1.00-4.00) |"
    )
    text = generation.page([fast, slow], command="python x", repetitions=3)
    assert "at n = 8: not met (5M: 3.00 (3.00-3.00), 5M: 2.90 (2.90-2.90))." in text
