"""The interface of answer checkers, and their judgements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from dreamprm.data.records import QuestionRecord
from dreamprm.responses import Stated, stated_answer

Verdict = Literal["right", "wrong", "undecided"]


@dataclass(frozen=True)
class Judgement:
    """Whether a response answers its question.

    Attributes:
        verdict: `undecided` if no answer could be extracted from the response, or if the two answers could
            not be compared (a time limit, a judge that gave no verdict).
        extracted: the answer extracted from the response, as it was compared; None if no answer was found.
        reason: one line for people who inspect a verdict: which rule decided, or why none could.
        unread: whether it is undecided only because this checker could not read the answer as one of its
            kind, so that a checker of another kind may still decide. Where it could, and found right or wrong
            not to be certain (other units, a letter next to another option's value), only a judge may.
    """

    verdict: Verdict
    extracted: str | None
    reason: str
    unread: bool = field(default=False, kw_only=True)


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


def read_stated(response: str) -> Stated | Judgement:
    """The answer that a response states, or an undecided judgement if none is stated, or one in doubt."""
    stated = stated_answer(response)
    if stated is None:
        return Judgement("undecided", None, "the response is empty")
    if stated.doubt is not None:
        return Judgement("undecided", stated.text or None, stated.doubt)
    return stated
