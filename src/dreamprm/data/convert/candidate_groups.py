"""Answers of several models, or several samples of one, grouped into candidate records by question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dreamprm.data.records import Candidate, CandidateRecord
from dreamprm.responses import parse_response


@dataclass
class _Group:
    question: str
    images: tuple[str, ...]
    answer: str
    candidates: list[Candidate] = field(default_factory=list)


class CandidateGroups:
    """Questions by id, each with the candidates that were added to it. All are held in memory."""

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._groups: dict[str, _Group] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._groups

    def question(self, id: str) -> str:
        """The text of a question that was added."""
        return self._groups[id].question

    def add_question(self, id: str, *, question: str, images: tuple[str, ...], answer: str) -> None:
        """Add a question; records come in the order in which questions are added."""
        self._groups[id] = _Group(question, images, answer)

    def add(self, id: str, candidate: Candidate) -> None:
        """Add a candidate to a question; candidates keep their order."""
        self._groups[id].candidates.append(candidate)

    def records(self) -> Iterator[CandidateRecord]:
        """One record a question that has candidates."""
        for id, group in self._groups.items():
            if group.candidates:
                yield CandidateRecord(
                    question=group.question,
                    images=group.images,
                    benchmark=self._benchmark,
                    answer=group.answer,
                    candidates=tuple(group.candidates),
                    id=id,
                )


def split_candidate(
    text: str, *, split: str, final_answer: str | None, correct: bool | None, generator: str | None,
    credit: float | None = None,
) -> Candidate:
    """A candidate from a model's free text.

    Args:
        text: the response, not blank.
        split: how it is split into steps, see `dreamprm.responses.parse_response`.
        final_answer: the answer as the source states it; None: the one that the text states, if any.
        correct, generator, credit: as of `Candidate`.

    Raises:
        UserError: an unknown `split`.
    """
    response = parse_response(text, split=split)
    return Candidate(
        text=text,
        steps=response.steps,
        final_answer=response.final_answer if final_answer is None else final_answer,
        correct=correct,
        generator=generator,
        credit=credit,
    )
