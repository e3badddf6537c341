"""What holds for every label method."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_rollouts import carry_out, chances

from dreamprm.labelling.rollouts import METHODS, build_method, run_plan

TABLE: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("full", {"rollouts": 1}),
    ("adaptive", {}),
    ("adaptive", {"estimate": "share"}),
    ("adaptive", {"initial": 1, "budget": 9.0, "maximum": 12, "threshold": 0.5, "stay": 0}),
    ("first_error", {}),
    ("first_error", {"rollouts": 3, "fill": "next"}),
]
METHOD = pytest.mark.parametrize("name, settings", TABLE, ids=[f"{name}-{s}" for name, s in TABLE])
VALUES = (0.9, 0.5, 0.5, 0.05, 0.0, 1.0, 0.3, 0.7, 0.0, 0.6, 0.2, 0.8, 0.99)


def test_the_table_holds_every_method() -> None:
    assert {name for name, _ in TABLE} == set(METHODS)


@METHOD
@pytest.mark.parametrize("correct", [True, False, None])
@pytest.mark.parametrize("prefixes", [0, 1, 2, 5, 13])
def test_labels_are_shares_and_rollouts_are_those_asked_for(
    name: str,
    settings: dict[str, Any],
    correct: bool | None,
    prefixes: int,
) -> None:
    plan = build_method(name, **settings).plan(prefixes, correct=correct)
    labels, answers = carry_out(plan, chances(*VALUES))
    assert len(labels) == prefixes
    assert all(label.p is None or 0 <= label.p <= 1 for label in labels)
    assert all(answers.rounds)  # a round without asks would never end
    for asks in answers.rounds:
        steps = [ask.step for ask in asks]
        assert len(set(steps)) == len(steps) and set(steps) <= set(range(1, prefixes + 1))
        assert all(ask.count >= 1 for ask in asks)
    assert [label.rollouts for label in labels] == [answers.asked.get(i + 1, 0) for i in range(prefixes)]
    assert all(label.p is not None for label in labels if label.rollouts)


@METHOD
def test_an_interrupted_plan_is_repeated_from_what_is_there(name: str, settings: dict[str, Any]) -> None:
    method = build_method(name, **settings)
    labels, answers = carry_out(method.plan(7, correct=False), chances(*VALUES, seed=3))
    rounds, tallies = iter(answers.rounds), iter(answers.tallies)

    def recorded(asks: Any) -> Any:
        assert list(asks) == next(rounds)
        return next(tallies)

    assert run_plan(method.plan(7, correct=False), recorded) == labels
    assert next(rounds, None) is None


@METHOD
def test_rollouts_that_do_not_count_label_nothing(name: str, settings: dict[str, Any]) -> None:
    """As where no answer could be read: the method ends all the same, and invents no label."""
    from dreamprm.labelling.rollouts import Tally

    labels = run_plan(
        build_method(name, **settings).plan(4, correct=None), lambda asks: [Tally(0, 0) for _ in asks]
    )
    assert [(label.p, label.rollouts) for label in labels] == [(None, 0)] * 4


@METHOD
def test_a_negative_number_of_prefixes_is_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="prefixes must be >= 0, got -1"):
        build_method(name, **settings).plan(-1, correct=None)
