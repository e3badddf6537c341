"""Answer rules of benchmarks: the base class of their own rules, and the rule for answers in any form."""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from dreamprm.answers import Checker, Judgement, Verdict, stated_answer
from dreamprm.data.records import QuestionRecord


@dataclass(frozen=True)
class Graded(Judgement):
    """A judgement with a grade.

    Attributes:
        credit: in [0, 1]; None if undecided.
    """

    credit: float | None = None


class BenchmarkChecker(Checker):
    """The answer rules of a benchmark."""

    @abstractmethod
    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an answer already extracted from a response by the benchmark's own method."""


@dataclass(frozen=True)
class StatedChecker(BenchmarkChecker):
    """Right if any accepted answer matches; undecided if none matches but a comparison is undecided.

    A bare letter means the option with this letter, even if it is also another option's text, since
    benchmarks ask for letters. (When labels are made, it is undecided.)

    Attributes:
        answers: extracts and compares answers: `AutoChecker`, with or without a judge.
        own: the benchmark's rules, for answers extracted by its own method.
        accepted: all accepted answers by record id, for questions that have several.
    """

    answers: Checker
    own: BenchmarkChecker
    accepted: Mapping[str, tuple[str, ...]]

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the answer stated in the response."""
        judgements: list[Judgement] = []
        for answer in self.accepted.get(question.id, (question.answer,)):
            judgements.append(self.answers.check(response, dataclasses.replace(question, answer=answer)))
            if judgements[-1].verdict == "right":
                return judgements[-1]
        if judgements[0].verdict == "undecided" and (letter := _bare_letter(response)) in question.letters:
            verdict: Verdict = "right" if letter == question.answer else "wrong"
            return Judgement(verdict, letter, "a bare letter names an option")
        return next((one for one in judgements if one.verdict == "undecided"), judgements[0])

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an already extracted answer by the benchmark's own rules."""
        return self.own.compare(extracted, question)

    def close(self) -> None:
        """Shut down the checker that compares expressions."""
        self.answers.close()


def _bare_letter(response: str) -> str | None:
    """The letter if the stated answer is a single letter, else None."""
    stated = stated_answer(response)
    letter = re.fullmatch(r"\(?([A-Z])\)?\.?", stated.text.strip()) if stated is not None else None
    return letter[1] if letter else None
