"""Answer rules of benchmarks: the base of each one's own, and the rule for answers stated in any form."""

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
        credit: in [0, 1]; None where undecided.
    """

    credit: float | None = None


class BenchmarkChecker(Checker):
    """The answer rules of a benchmark."""

    @abstractmethod
    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an answer that was taken out of a response already, by the benchmark's own extraction."""


@dataclass(frozen=True)
class StatedChecker(BenchmarkChecker):
    """Right where one of the accepted answers is; undecided where none is and one comparison is undecided.

    A bare letter is the option with this letter, also where it is another option's text: benchmarks ask for
    letters. (Labels leave it undecided.)

    Attributes:
        answers: reads and compares: `AutoChecker`, with a judge or without.
        own: the benchmark's rules, for answers that its own extraction took out.
        accepted: by record id all accepted answers, of questions that have several.
    """

    answers: Checker
    own: BenchmarkChecker
    accepted: Mapping[str, tuple[str, ...]]

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the answer that the response states."""
        judgements: list[Judgement] = []
        for answer in self.accepted.get(question.id, (question.answer,)):
            judgements.append(self.answers.check(response, dataclasses.replace(question, answer=answer)))
            if judgements[-1].verdict == "right":
                return judgements[-1]
        if judgements[0].verdict == "undecided" and (letter := _bare_letter(response)) in question.letters:
            verdict: Verdict = "right" if letter == question.answer else "wrong"
            return Judgement(verdict, letter, "a bare letter is an option's")
        return next((one for one in judgements if one.verdict == "undecided"), judgements[0])

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an answer that was taken out already, by the benchmark's own rules."""
        return self.own.compare(extracted, question)

    def close(self) -> None:
        """End what compares expressions."""
        self.answers.close()


def _bare_letter(response: str) -> str | None:
    """The letter that is all of the stated answer, or None."""
    stated = stated_answer(response)
    letter = re.fullmatch(r"\(?([A-Z])\)?\.?", stated.text.strip()) if stated is not None else None
    return letter[1] if letter else None
