"""The same number of rollouts from every prefix."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_rollouts import carry_out

from dreamprm.labelling.rollouts import Ask, StepLabel, Tally, run_plan
from dreamprm.labelling.rollouts.full import Full


def test_one_round_asks_for_all_and_labels_are_shares() -> None:
    # Step i ends right in its first i rollouts.
    labels, answers = carry_out(Full(4).plan(3, correct=True), lambda step, before: before < step)
    assert answers.rounds == [[Ask(1, 4), Ask(2, 4), Ask(3, 4)]]
    assert labels == [StepLabel(0.25, 4), StepLabel(0.5, 4), StepLabel(0.75, 4)]


def test_the_share_is_of_the_rollouts_that_count() -> None:
    labels = run_plan(Full(4).plan(2, correct=None), lambda asks: [Tally(1, 3), Tally(0, 0)])
    assert labels == [StepLabel(1 / 3, 3), StepLabel(None, 0)]


@pytest.mark.parametrize("rollouts", [0, 1.5, True, "8"])
def test_a_number_of_rollouts_that_is_none_is_refused(rollouts: Any) -> None:
    with pytest.raises(
        ValueError, match=f"rollouts must be (a whole number )?>= 1, got {rollouts!r}; the paper"
    ):
        Full(rollouts)
