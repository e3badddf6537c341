"""Answers of several models, or several samples of one, grouped into candidate records by question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import UserError
from dreamprm.data.records import Candidate, CandidateRecord
from dreamprm.responses import StepCounts, parse_response
from dreamprm.responses import final_answer as read_final_answer


class _Answer(NamedTuple):
    """A candidate before it is split; its text is kept as UTF-8, which takes no more memory than the file."""

    text: bytes
    final_answer: str | None
    correct: bool | None
    generator: str | None
    credit: float | None
    stated_in: bytes | None
    file: str | None


@dataclass
class _Group:
    question: str
    images: tuple[str, ...]
    answer: str
    answers: list[_Answer] = field(default_factory=list)


class CandidateGroups:
    """Questions by id, each with the candidates added to it.

    Texts are held in memory once; they are split into steps only when records are made.

    Args:
        benchmark: the `benchmark` of the records.
        split: how texts are split into steps; see `dreamprm.responses.parse_response`.
        steps: receives the number of steps of every candidate, by its file.

    Raises:
        UserError: an unknown `split`.
    """

    def __init__(self, benchmark: str, *, split: str, steps: dict[str, StepCounts] | None = None) -> None:
        if split not in SPLITS:
            raise UserError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self._benchmark, self._split = benchmark, split
        self._groups: dict[str, _Group] = {}
        self._steps = {} if steps is None else steps

    def __contains__(self, id: str) -> bool:
        return id in self._groups

    def question(self, id: str) -> str:
        """The text of a question added earlier."""
        return self._groups[id].question

    def add_question(self, id: str, *, question: str, images: tuple[str, ...], answer: str) -> None:
        """Add a question; records are yielded in the order in which questions were added."""
        self._groups[id] = _Group(question, images, answer)

    def add(
        self,
        id: str,
        text: str,
        *,
        final_answer: str | None,
        correct: bool | None,
        generator: str | None,
        credit: float | None = None,
        stated_in: str | None = None,
        file: str | None = None,
    ) -> None:
        """Add a candidate to a question; candidates keep their order.

        Args:
            id: the id of a question added earlier.
            text, final_answer, correct, generator, credit, stated_in: as in `split_candidate`.
            file: the file that it comes from, for the counts of steps.
        """
        generator = None if generator is None else sys.intern(generator)
        # Keeps any text that a file can hold, even what UTF-8 cannot encode (a lone surrogate in JSON).
        self._groups[id].answers.append(
            _Answer(
                text.encode(errors="surrogatepass"),
                final_answer,
                correct,
                generator,
                credit,
                None if stated_in in (None, text) else (stated_in or "").encode(errors="surrogatepass"),
                None if file is None else sys.intern(file),
            )
        )

    def records(self) -> Iterator[CandidateRecord]:
        """One record per question that has candidates."""
        for id, group in self._groups.items():
            if group.answers:
                yield CandidateRecord(
                    question=group.question,
                    images=group.images,
                    benchmark=self._benchmark,
                    answer=group.answer,
                    candidates=tuple(self._candidate(answer) for answer in group.answers),
                    id=id,
                )

    def _candidate(self, answer: _Answer) -> Candidate:
        stated_in = answer.stated_in
        candidate = split_candidate(
            answer.text.decode(errors="surrogatepass"),
            split=self._split,
            final_answer=answer.final_answer,
            correct=answer.correct,
            generator=answer.generator,
            credit=answer.credit,
            stated_in=None if stated_in is None else stated_in.decode(errors="surrogatepass"),
        )
        if answer.file is not None:
            self._steps.setdefault(answer.file, StepCounts())[len(candidate.steps)] += 1
        return candidate


def split_candidate(
    text: str,
    *,
    split: str,
    final_answer: str | None,
    correct: bool | None,
    generator: str | None,
    credit: float | None = None,
    stated_in: str | None = None,
) -> Candidate:
    """Build a candidate from a model's free text.

    Args:
        text: the response; must not be blank.
        split: how it is split into steps; see `dreamprm.responses.parse_response`.
        final_answer: the answer given by the source; None: the one stated in the text, if any.
        correct, generator, credit: as in `Candidate`.
        stated_in: the part of the text that may state the answer; None: all of it. A model's thinking, which
            precedes its response, states none.

    Raises:
        UserError: an unknown `split`.
    """
    response = parse_response(text, split=split)
    stated = response.final_answer if stated_in in (None, text) else read_final_answer(stated_in or "")
    return Candidate(
        text=text,
        steps=response.steps,
        final_answer=stated if final_answer is None else final_answer,
        correct=correct,
        generator=generator,
        credit=credit,
    )
