"""How the labels p_i of one chain of thought are estimated: which prefixes get how many rollouts, when."""

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
    """What an `Ask` brought: how many of its rollouts ended right, of how many that count."""

    right: int
    total: int


@dataclass(frozen=True)
class StepLabel:
    """The label of one step: p in [0, 1], or None where the method leaves it open; and its rollouts."""

    p: float | None
    rollouts: int


Plan = PythonGenerator[Sequence[Ask], Sequence[Tally], list[StepLabel]]
"""Yields what it wants next (all asks of a round may run at once), is sent a tally for each in the same
order, and returns the labels. It holds no clock, no file and no model, so that an interrupted one is repeated
from the rollouts that are there."""


def check_prefixes(prefixes: int) -> None:
    """Refuse a negative number of prefixes to plan for.

    Raises:
        ValueError: with the number.
    """
    if prefixes < 0:
        raise ValueError(f"prefixes must be >= 0, got {prefixes}; it is one less than the chain's steps")


class LabelMethod(ABC):
    """A way to spend rollouts on the incomplete prefixes of one chain of thought."""

    @property
    def takes_chains_for_own(self) -> bool:
        """Whether its labels rest on the chain being written by the generator that continues it."""
        return False

    @abstractmethod
    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        """Plan the labels of the steps 1..prefixes.

        The complete chain is not among them: its label is whether it is right itself.

        Args:
            prefixes: the number of incomplete prefixes, >= 0 (one less than the steps).
            correct: whether the chain itself ends right; None where that is not known.

        Returns:
            The plan; it returns one label for each prefix.
        """


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
