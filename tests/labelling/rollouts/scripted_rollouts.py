"""Answers to a plan's asks whose right shares are known, and a record of what was asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from dreamprm.labelling.rollouts import Ask, Plan, StepLabel, Tally, run_plan

Draw = Callable[[int, int], bool]
"""(step, how many rollouts it had before) -> whether the next one ends right."""


def chances(*values: float, seed: int = 0) -> Draw:
    """Each step's rollouts end right with its own chance."""
    rng = random.Random(seed)
    return lambda step, before: rng.random() < values[step - 1]


class Answers:
    """Answers asks by `draw`; `rounds` holds what was asked, `tallies` what was answered."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rounds: list[list[Ask]] = []
        self.tallies: list[list[Tally]] = []
        self.asked: dict[int, int] = {}

    def __call__(self, asks: Sequence[Ask]) -> list[Tally]:
        self.rounds.append(list(asks))
        self.tallies.append([self._answer(ask) for ask in asks])
        return self.tallies[-1]

    def _answer(self, ask: Ask) -> Tally:
        before = self.asked.get(ask.step, 0)
        self.asked[ask.step] = before + ask.count
        return Tally(sum(self.draw(ask.step, before + i) for i in range(ask.count)), ask.count)


def carry_out(plan: Plan, draw: Draw) -> tuple[list[StepLabel], Answers]:
    """The plan's labels and what it asked for."""
    answers = Answers(draw)
    return run_plan(plan, answers), answers
