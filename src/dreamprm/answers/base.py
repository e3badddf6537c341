"""What a checker of answers is asked, and what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from dreamprm.data.records import QuestionRecord

Verdict = Literal["right", "wrong", "undecided"]


@dataclass(frozen=True)
class Judgement:
    """Whether a response answers its question.

    Attributes:
        verdict: `undecided` where no answer could be taken from the response, or where the two could not be
            compared (a time limit, a judge that gave no verdict).
        extracted: the answer taken from the response, as it was compared; None where there is none.
        reason: one line for a person who reads a disagreement: which rule decided, or why none could.
    """

    verdict: Verdict
    extracted: str | None
    reason: str


class Checker(ABC):
    """One kind of answer: takes it out of a response and compares it with the question's."""

    @abstractmethod
    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge a whole response (the chain of thought with its final answer).

        Args:
            response: the generator's text; may state no answer, or several (the last one counts).
            question: its `answer`, `options`, `precision` and `unit` say what is right.

        Raises:
            GenerationError: a judge gave no reply, and may give one later.
        """

    def close(self) -> None:
        """Free what it holds (a worker process, a generator)."""
