"""How the labels p_i of a chain of thought are estimated: how many rollouts each prefix gets, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from collections.abc import Generator as PythonGenerator
from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """`count` more rollouts from the prefix that ends with step `step` (1 is the first)."""

    step: int
    count: int


@dataclass(frozen=True)
class Tally:
    """The result of an `Ask`: how many of its rollouts ended right, and how many count."""

    right: int
    total: int


@dataclass(frozen=True)
class StepLabel:
    """The label of one step: p in [0, 1], or None if the method gives none; and its number of rollouts."""

    p: float | None
    rollouts: int


Plan = PythonGenerator[Sequence[Ask], Sequence[Tally], list[StepLabel]]
"""Yields rounds of asks (the asks of a round may run at once), is sent a tally for each in the same order,
and finally returns the labels. It depends on no clock, file or model, so that an interrupted plan can be
replayed from the existing rollouts."""


def check_prefixes(prefixes: int) -> None:
    """Validate the number of prefixes to plan for.

    Raises:
        ValueError: the number is negative.
    """
    if prefixes < 0:
        raise ValueError(f"prefixes must be >= 0, got {prefixes}; it is the number of steps minus one")


class LabelMethod(ABC):
    """A way to spend rollouts on the incomplete prefixes of one chain of thought."""

    @property
    def takes_chains_for_own(self) -> bool:
        """Whether its labels assume that the chain was written by the generator that continues it."""
        return False

    @abstractmethod
    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        """Plan the labels of the steps 1..prefixes.

        The complete chain is not included: its label is whether it is right itself.

        Args:
            prefixes: the number of incomplete prefixes, >= 0 (the number of steps minus one).
            correct: whether the chain itself ends right; None if that is not known.

        Returns:
            The plan; it returns one label for each prefix.
        """


def run_plan(plan: Plan, ask: Callable[[Sequence[Ask]], Sequence[Tally]]) -> list[StepLabel]:
    """Answer a plan's rounds with `ask` until it returns its labels.

    Args:
        plan: from `LabelMethod.plan`, not started.
        ask: returns a tally for each ask of a round, in the same order. Its exceptions are passed on; the
            plan is then over, and a new one can be answered from the existing rollouts.

    Returns:
        One label for each prefix.

    Raises:
        ValueError: `ask` returned the wrong number of tallies, or a tally that counts more rollouts than were
            asked for or more right ones than rollouts.
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
            raise ValueError(f"a round of {len(asks)} asks needs {len(asks)} tallies, got {len(tallies)}")
        for wanted, tally in zip(asks, tallies, strict=True):
            if not 0 <= tally.right <= tally.total <= wanted.count:
                raise ValueError(
                    f"a tally must satisfy 0 <= right <= total <= {wanted.count}, the rollouts asked for; "
                    f"got {tally}"
                )
