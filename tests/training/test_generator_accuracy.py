"""The generator's accuracy on a domain, from its step labels."""

from __future__ import annotations

import pytest

from dreamprm.data.records import StepRecord
from dreamprm.training.summary import generator_accuracy


def record(domain: str, *labels: float | None) -> StepRecord:
    return StepRecord(
        question="q",
        images=(),
        domain=domain,
        steps=("s",) * len(labels),
        labels=labels,
        rollouts=(None,) * len(labels),
        id="r",
    )


def test_mean_of_first_labels_by_domain() -> None:
    records = [record("a", 0.5, 1.0), record("b", 0.25, 0.0), record("a", 1.0, 0.0)]
    assert generator_accuracy(records) == {"a": 0.75, "b": 0.25}


def test_a_step_without_label_is_passed_over() -> None:
    assert generator_accuracy([record("a", None, 0.5, 1.0), record("a", 0.0)]) == {"a": 0.25}


def test_a_record_without_labels_does_not_count() -> None:
    assert generator_accuracy([record("a", None), record("a", 0.5), record("c", None)]) == {"a": 0.5}


def test_sampled_chains_give_the_chance_at_the_question() -> None:
    """Where the first step goes right with 0.6 (then 0.75 of completions do) and wrong (0.125) otherwise."""
    records = [record("a", 0.75, 1.0)] * 6 + [record("a", 0.125, 0.0)] * 4
    assert generator_accuracy(records)["a"] == pytest.approx(0.6 * 0.75 + 0.4 * 0.125)
