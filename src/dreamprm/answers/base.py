"""The interface of answer checkers, and their judgements."""

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
        verdict: `undecided` if no answer could be extracted from the response, or if the two answers could
            not be compared (a time limit, a judge that gave no verdict).
        extracted: the answer extracted from the response, as it was compared; None if there is none.
        reason: one line for people who inspect a verdict: which rule decided, or why none could.
    """

    verdict: Verdict
    extracted: str | None
    reason: str


class Checker(ABC):
    """Extracts one kind of answer from a response and compares it with the question's answer."""

    @abstractmethod
    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge a whole response (the chain of thought with its final answer).

        Args:
            response: the generator's text; it may state no answer, or several (the last one counts).
            question: its `answer`, `options`, `precision` and `unit` define what is right.

        Raises:
            GenerationError: the judge did not reply, but may do so later.
        """

    def close(self) -> None:
        """Release its resources (a worker process, a generator)."""
