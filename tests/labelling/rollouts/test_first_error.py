"""The binary search for the first step from which nothing ends right."""

from __future__ import annotations

from math import ceil, log2

import pytest
from scripted_rollouts import carry_out

from dreamprm.labelling.rollouts import Ask, StepLabel
from dreamprm.labelling.rollouts.first_error import FirstError


@pytest.mark.parametrize("prefixes", range(18))
def test_every_position_is_found_in_logarithmic_time(prefixes: int) -> None:
    for error in range(1, prefixes + 2):  # prefixes + 1: the last step, which is known to be wrong
        labels, answers = carry_out(
            FirstError(4, fill="next").plan(prefixes, correct=False),
            lambda step, before, error=error: step < error and before == 0,
        )
        assert [bool(label.p) for label in labels] == [step < error for step in range(1, prefixes + 1)]
        assert len(answers.rounds) <= ceil(log2(prefixes + 1))


def test_steps_that_were_not_visited_stay_open() -> None:
    """Seven prefixes, the error at step 6: visited are 4, 6 and 5."""
    labels, answers = carry_out(
        FirstError(4).plan(7, correct=False), lambda step, before: step < 6 and before < 6 - step
    )
    assert answers.rounds == [[Ask(4, 4)], [Ask(6, 4)], [Ask(5, 4)]]
    assert labels == [StepLabel(None, 0)] * 3 + [
        StepLabel(0.5, 4),
        StepLabel(0.25, 4),
        StepLabel(0.0, 4),
        StepLabel(None, 0),
    ]


def test_or_they_get_the_next_visited_label() -> None:
    labels, _ = carry_out(
        FirstError(4, fill="next").plan(7, correct=False), lambda step, before: step < 6 and before < 6 - step
    )
    assert [label.p for label in labels] == [0.5, 0.5, 0.5, 0.5, 0.25, 0.0, 0.0]
    assert [label.rollouts for label in labels] == [0, 0, 0, 4, 4, 4, 0]


@pytest.mark.parametrize("fill, value", [("null", None), ("next", 1.0)])
def test_a_right_chain_is_not_searched(fill: str, value: float | None) -> None:
    labels, answers = carry_out(FirstError(fill=fill).plan(3, correct=True), lambda step, before: False)
    assert answers.rounds == [] and labels == [StepLabel(value, 0)] * 3


def test_where_the_chains_end_is_not_known_nothing_follows_from_it() -> None:
    labels, _ = carry_out(FirstError(4, fill="next").plan(4, correct=None), lambda step, before: True)
    assert [label.p for label in labels] == [1.0, 1.0, 1.0, 1.0]  # 2, 3, 4 visited
    labels, _ = carry_out(FirstError(4, fill="next").plan(4, correct=None), lambda step, before: False)
    assert [label.p for label in labels] == [0.0, 0.0, None, None]  # 2, 1 visited


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="fill must be one of null, next, got 'monotone'"):
        FirstError(fill="monotone")
    with pytest.raises(ValueError, match="rollouts must be >= 1, got 0"):
        FirstError(0)
