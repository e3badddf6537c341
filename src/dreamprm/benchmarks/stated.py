"""The answer that a response states, whatever prompt it follows, compared by the rules of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dreamprm.answers import Checker, Judgement
from dreamprm.benchmarks.benchmark import BenchmarkChecker, BenchmarkQuestion
from dreamprm.data.records import QuestionRecord


@dataclass(frozen=True)
class StatedChecker(BenchmarkChecker):
    """Right where one of the accepted answers is; undecided where none is and one comparison is undecided.

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
        return next((one for one in judgements if one.verdict == "undecided"), judgements[0])

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an answer that was taken out already, by the benchmark's own rules."""
        return self.own.compare(extracted, question)

    def close(self) -> None:
        """End what compares expressions."""
        self.answers.close()


def several_accepted(questions: Sequence[BenchmarkQuestion]) -> dict[str, tuple[str, ...]]:
    """All accepted answers by record id, of the questions that have several."""
    return {question.record.id: question.accepted for question in questions if question.accepted}
