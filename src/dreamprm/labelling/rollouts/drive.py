"""Carrying a plan out: from what it asks for to its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dreamprm.labelling.rollouts.base import Ask, Plan, StepLabel, Tally


def run_plan(plan: Plan, ask: Callable[[Sequence[Ask]], Sequence[Tally]]) -> list[StepLabel]:
    """Answer a plan's rounds with `ask` until it returns its labels.

    Args:
        plan: from `LabelMethod.plan`, not begun.
        ask: brings a tally for each ask of a round, in the same order. What it raises leaves through here;
            the plan is then over, and a new one may be answered from the rollouts that are there.

    Returns:
        One label for each prefix.

    Raises:
        ValueError: `ask` brought another number of tallies, or one that counts more rollouts than were asked
            for or more right ones than there are.
    """
    tallies: Sequence[Tally] | None = None
    while True:
        try:
            asks = next(plan) if tallies is None else plan.send(tallies)
        except StopIteration as end:
            labels: list[StepLabel] = end.value
            return labels
        tallies = ask(asks)
        if len(tallies) != len(asks):
            raise ValueError(f"a round of {len(asks)} asks needs as many tallies, got {len(tallies)}")
        for wanted, tally in zip(asks, tallies, strict=True):
            if not 0 <= tally.right <= tally.total <= wanted.count:
                raise ValueError(
                    f"a tally needs 0 <= right <= total <= {wanted.count}, the rollouts asked for; got "
                    f"{tally}"
                )
