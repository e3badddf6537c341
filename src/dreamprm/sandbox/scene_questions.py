"""Questions about a scene: one operation on its two values, followed in one suite by a second operation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dreamprm.sandbox.scenes import Scene

OPERATIONS: tuple[str, ...] = ("sum", "difference", "maximum")


@dataclass(frozen=True)
class Question:
    """`extra` is a signed number added to the result (two operations), or 0 for a plain question."""

    operation: str
    left_noun: str
    right_noun: str
    extra: int = 0

    @property
    def text(self) -> str:
        tail = ""
        if self.extra:
            tail = f" {'plus' if self.extra > 0 else 'minus'} {abs(self.extra)}"
        return f"{self.operation} of left {self.left_noun} and right {self.right_noun}{tail} ?"

    @classmethod
    def about(cls, scene: Scene, operation: str, extra: int = 0) -> Question:
        return cls(operation, scene.left_skill, scene.right_skill, extra)

    def answer(self, left: int, right: int) -> int:
        return apply(self.operation, left, right) + self.extra


def apply(operation: str, left: int, right: int) -> int:
    """The result of one of `OPERATIONS` on two values."""
    if operation == "sum":
        return left + right
    if operation == "difference":
        return abs(left - right)
    if operation == "maximum":
        return max(left, right)
    raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")


_PATTERN = re.compile(r"\b(\w+) of left (\w+) and right (\w+)(?: (plus|minus) (\d+))? \?")


def parse_question(prompt: str) -> Question:
    """The question contained in a prompt.

    Raises:
        ValueError: the prompt contains no question of this world.
    """
    match = _PATTERN.search(prompt)
    if match is None:
        raise ValueError(
            f"no sandbox question in the prompt {prompt[:80]!r}; expected 'sum of left ... and right ... ?'"
        )
    operation, left_noun, right_noun, sign, number = match.groups()
    extra = int(number or 0) * (-1 if sign == "minus" else 1)
    return Question(operation, left_noun, right_noun, extra)
