"""Driving a plan: rounds answered in order, wrong answers refused, failures passed on."""

from __future__ import annotations

import pytest

from dreamprm.labelling.rollouts import Ask, Plan, StepLabel, Tally, run_plan


def _two_rounds() -> Plan:
    (first,) = yield [Ask(1, 2)]
    second, third = yield [Ask(2, first.total), Ask(1, 1)]
    return [StepLabel(second.right / 2, 2), StepLabel(float(third.right), 1)]


def test_each_round_is_answered_and_the_labels_returned() -> None:
    seen = []

    def ask(asks: object) -> list[Tally]:
        seen.append(asks)
        return [Tally(1, 2)] if len(seen) == 1 else [Tally(1, 2), Tally(0, 1)]

    assert run_plan(_two_rounds(), ask) == [StepLabel(0.5, 2), StepLabel(0.0, 1)]
    assert seen == [[Ask(1, 2)], [Ask(2, 2), Ask(1, 1)]]


@pytest.mark.parametrize(
    "tallies, message",
    [
        ([], "a round of 1 asks needs 1 tallies, got 0"),
        ([Tally(3, 3)], "0 <= right <= total <= 2"),
        ([Tally(2, 1)], "total <= 2"),
        ([Tally(-1, 1)], "right=-1"),
    ],
)
def test_tallies_that_cannot_be_are_refused(tallies: list[Tally], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_plan(_two_rounds(), lambda asks: tallies)


def test_a_failure_of_the_answers_is_not_taken_for_the_end() -> None:
    def ask(asks: object) -> list[Tally]:
        raise StopIteration("a generator ran dry")

    with pytest.raises(StopIteration, match="ran dry"):
        run_plan(_two_rounds(), ask)
