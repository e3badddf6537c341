"""How many steps the responses of a file have: a split that finds none of them shows in these numbers."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any


class StepCounts(Counter[int]):
    """The number of responses by their number of steps.

    A file whose responses nearly all have one step was split at marks that it does not have, or holds bare
    answers: a PRM then scores whole responses, without a word.
    """

    @classmethod
    def of(cls, steps: Iterable[int]) -> StepCounts:
        """Count responses, given the number of steps of each."""
        return cls(Counter(steps))

    @property
    def responses(self) -> int:
        """How many responses were counted."""
        return sum(self.values())

    def line(self, what: str = "responses") -> str:
        """`steps per response: min 1, median 4, max 9; 13 of 304 responses are one step`; "" for none."""
        total = self.responses
        if not total:
            return ""
        median = statistics.median(sorted(self.elements()))
        text = f"steps per response: min {min(self)}, median {median:g}, max {max(self)}; "
        text += f"{self[1]:,} of {total:,} {what} are one step"
        return text + (f", {self[0]:,} have none" if self[0] else "")

    def to_json(self) -> dict[str, Any]:
        """Minimum, median and maximum, and how many responses have one step."""
        if not self.responses:
            return {"responses": 0}
        return {
            "responses": self.responses,
            "min": min(self),
            "median": statistics.median(sorted(self.elements())),
            "max": max(self),
            "one_step": self[1],
        }


def step_lines(counts: Mapping[str, StepCounts]) -> list[str]:
    """One line per file."""
    return [f"{name}: {one.line()}" for name, one in counts.items() if one.responses]
