"""The four kinds of records in the pipeline's files, and their JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dreamprm.data.step_scores import Scores, scores_to_json


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One chain of thought with a label per step: what the lower level trains on.

    Attributes:
        question: the question with its options.
        images: paths of its images; empty for a text-only question.
        domain: the dataset it comes from; one weight is learned per domain.
        steps: the text of each step.
        labels: for each step, the probability in [0, 1] that the prefix up to it leads to a correct answer
            (p_i; DreamPRM, arXiv 2505.20241), or None if it was not labelled.
        rollouts: for each step, the number of completions its label is estimated from, or None if unknown.
        id: identifies the record in messages.
        place: where in its file it was read, for messages after its name: `:17`; "" if it was not read.
        final_answer_correct: the outcome label: whether the answer that the chain ends with is right, as far
            as the source says so, whatever the steps' labels are; None if it is not known. It describes the
            chain and is no part of it, so records that differ in it alone are equal.
    """

    question: str
    images: tuple[str, ...]
    domain: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    rollouts: tuple[int | None, ...]
    id: str
    place: str = field(default="", compare=False, repr=False)
    final_answer_correct: bool | None = field(default=None, compare=False)

    @property
    def image(self) -> str | None:
        """The first image's path, or None for a text-only question."""
        return self.images[0] if self.images else None


@dataclass(frozen=True, slots=True)
class MetaRecord:
    """One complete chain of thought and whether its answer is right: what the upper level learns from.

    `steps` is empty if the source holds no chain of thought; such a record cannot be trained on
    (`dreamprm.data.require_steps`). `place` is as in `StepRecord`.
    """

    question: str
    images: tuple[str, ...]
    steps: tuple[str, ...]
    correct: bool
    id: str
    place: str = field(default="", compare=False, repr=False)

    @property
    def image(self) -> str | None:
        """The first image's path, or None for a text-only question."""
        return self.images[0] if self.images else None


RIGHT_FROM = 0.5
"""If only a grade is known, the candidate is `correct` from this credit upwards."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the N answers from which a selector picks; `correct` is None if it is not known.

    `scores` are the log-odds of its steps, by scorer (dreamprm.data.step_scores). `credit` in [0, 1] is what
    a graded answer earns (MM-Vet), and accuracy is then the mean credit; None if answers are only right or
    wrong. Anything that needs right and wrong uses `correct`.
    """

    text: str
    steps: tuple[str, ...]
    final_answer: str | None
    correct: bool | None
    generator: str | None
    scores: Scores = field(default_factory=dict)
    credit: float | None = None

    @property
    def outcome(self) -> float:
        """What it earns: its credit if it is graded; otherwise 1 if right, 0 if wrong or unknown."""
        return float(bool(self.correct)) if self.credit is None else self.credit


def contradicting(correct: bool | None, credit: float | None) -> str | None:
    """Why a candidate cannot have both values, or None if it can.

    The credit from which an answer counts as right is the grader's choice (MM-Vet: .5), but a right answer
    earns something, and a wrong one does not earn everything.
    """
    if correct is True and credit == 0:
        return "a right answer (correct=true) earns more than 0"
    if correct is False and credit == 1:
        return "a wrong answer (correct=false) earns less than 1"
    return None


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """One benchmark question with its reference answer and its N candidates."""

    question: str
    images: tuple[str, ...]
    benchmark: str
    answer: str
    candidates: tuple[Candidate, ...]
    id: str

    @property
    def image(self) -> str | None:
        """The first image's path, or None for a text-only question."""
        return self.images[0] if self.images else None


@dataclass(frozen=True, slots=True)
class QuestionRecord:
    """A question with its answer, for which chains of thought are sampled and by which they are judged.

    Attributes:
        question: the question's text, without its options.
        images: paths of its images; empty for a text-only question.
        answer: the right answer; for a question with options, the letter of the right one.
        options: the options' texts in order (A, B, ...); empty for an open question.
        domain: the dataset it comes from.
        answer_type: one of `ANSWER_TYPES`; None: inferred from options and answer.
        precision: decimals that a numeric answer is rounded to; None: as many as the answer is written with.
        unit: the unit of a numeric answer, or None.
        id: identifies the question; its CoTs, their steps and labels are stored under it.
    """

    question: str
    images: tuple[str, ...]
    answer: str
    options: tuple[str, ...]
    domain: str
    answer_type: str | None
    precision: int | None
    unit: str | None
    id: str

    @property
    def image(self) -> str | None:
        """The first image's path, or None for a text-only question."""
        return self.images[0] if self.images else None

    @property
    def letters(self) -> tuple[str, ...]:
        """The options' letters: A, B, ..."""
        return tuple(OPTION_LETTERS[: len(self.options)])


ANSWER_TYPES = ("choice", "integer", "float", "symbolic", "text")
"""`integer`, `float`: compared as numbers; `symbolic`: as mathematical expressions; `text`: as words."""

OPTION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Record = StepRecord | MetaRecord | CandidateRecord | QuestionRecord


def to_json(record: Record) -> dict[str, Any]:
    """A record in the package's own form, as stored in one line of a JSONL file.

    The inverse of the readers: reading the line returns an equal record (with relative image paths resolved
    against the file's folder or `image_root`).

    Args:
        record: any of the four kinds.

    Returns:
        A dict of JSON values. One image is written as `image`, none or several as `images`.
    """
    head: dict[str, Any] = {"id": record.id, "question": record.question}
    if len(record.images) == 1:
        head["image"] = record.images[0]
    else:
        head["images"] = list(record.images)
    if isinstance(record, StepRecord):
        outcome = record.final_answer_correct
        return (
            head
            | {
                "domain": record.domain,
                "steps": list(record.steps),
                "labels": list(record.labels),
                "rollouts": list(record.rollouts),
            }
            | ({} if outcome is None else {"final_answer_correct": outcome})
        )
    if isinstance(record, MetaRecord):
        return head | {"steps": list(record.steps), "correct": record.correct}
    if isinstance(record, QuestionRecord):
        own: dict[str, Any] = {
            "options": list(record.options),
            "answer_type": record.answer_type,
            "precision": record.precision,
            "unit": record.unit,
        }
        given = {name: value for name, value in own.items() if value not in (None, [])}
        return head | {"answer": _stated_answer(record), "domain": record.domain} | given
    return head | {
        "benchmark": record.benchmark,
        "answer": record.answer,
        "candidates": [
            {
                "text": candidate.text,
                "steps": list(candidate.steps),
                "final_answer": candidate.final_answer,
                "correct": candidate.correct,
                "generator": candidate.generator,
                **({"credit": candidate.credit} if candidate.credit is not None else {}),
                **({"scores": scores_to_json(candidate.scores)} if candidate.scores else {}),
            }
            for candidate in record.candidates
        ],
    }


def _stated_answer(record: QuestionRecord) -> str:
    """The answer as written to a file: a letter, in brackets if it is also another option's whole text.

    The options of a puzzle may themselves be letters, out of order; the reader then goes by the text.
    """
    options = zip(record.letters, record.options, strict=False)
    is_anothers_text = any(text.strip() == record.answer != letter for letter, text in options)
    return f"({record.answer})" if is_anothers_text else record.answer
