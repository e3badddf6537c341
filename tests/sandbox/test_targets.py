"""The sandbox's targets, measured on summaries written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from dreamprm.sandbox.targets import TARGETS, sandbox_targets


def _summary(**changes: Any) -> dict[str, Any]:
    return {
        "best_of_n": {
            "dreamprm": {"heldout": 0.90, "mean": 0.70},
            "vanilla": {"heldout": 0.80, "mean": 0.65},
            "majority": {"heldout": 0.75, "mean": 0.60},
        },
        "spearman": 0.85,
        "weight_ratio": 3.0,
    } | changes


def test_each_target_stands_beside_what_was_measured() -> None:
    results = sandbox_targets(_summary())
    assert list(results) == list(TARGETS)
    assert [result["measured"] for result in results.values()] == pytest.approx([0.10, 0.15, 0.05, 0.85, 3.0])
    assert [result["target"] for result in results.values()] == [0.08, 0.12, 0.04, 0.80, 2.5]
    assert all(result["met"] is True for result in results.values())


@pytest.mark.parametrize(
    "changes, missed",
    [
        ({"spearman": 0.79}, 3),
        ({"weight_ratio": 2.4}, 4),
        (
            {
                "best_of_n": {
                    "dreamprm": {"heldout": 0.9, "mean": 0.7},
                    "vanilla": {"heldout": 0.83, "mean": 0.65},
                    "majority": {"heldout": 0.75, "mean": 0.6},
                }
            },
            0,
        ),
        (
            {
                "best_of_n": {
                    "dreamprm": {"heldout": 0.9, "mean": 0.7},
                    "vanilla": {"heldout": 0.8, "mean": 0.65},
                    "majority": {"heldout": 0.79, "mean": 0.6},
                }
            },
            1,
        ),
        (
            {
                "best_of_n": {
                    "dreamprm": {"heldout": 0.9, "mean": 0.7},
                    "vanilla": {"heldout": 0.8, "mean": 0.67},
                    "majority": {"heldout": 0.75, "mean": 0.6},
                }
            },
            2,
        ),
    ],
)
def test_a_target_is_missed_alone(changes: dict[str, Any], missed: int) -> None:
    met = [result["met"] for result in sandbox_targets(_summary(**changes)).values()]
    assert met == [number != missed for number in range(5)]


def test_entries_that_are_not_there_count_as_zero() -> None:
    summary = _summary()
    del summary["spearman"], summary["weight_ratio"]
    results = list(sandbox_targets(summary).values())
    assert [(result["measured"], result["met"]) for result in results[3:]] == [(0.0, False)] * 2
