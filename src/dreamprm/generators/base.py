"""The interface that every generator of chains of thought implements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completion:
    """One sampled continuation: its text, without the prefix, and its length in the generator's tokens."""

    text: str
    tokens: int


class Generator(Protocol):
    """Continues a partial chain of thought; a scripted one and a served one look the same from outside."""

    def complete(
        self, prompt: str, image: str | None, *, prefix: Sequence[str] = (), n: int = 1, seed: int = 0,
    ) -> list[Completion]:
        """Sample n independent continuations of `prompt` and `prefix`.

        Args:
            prompt: the question, with whatever instructions the generator wants.
            image: path of the question's image, or None.
            prefix: the steps written so far; empty to start from the question.
            n: how many continuations.
            seed: equal seeds give equal continuations.

        Returns:
            n completions; each text holds the remaining steps and the final-answer line.
        """
        ...
