"""Reads existing chains of thought, and the questions that they answer."""

from __future__ import annotations

from collections.abc import Sequence

from dreamprm.config.errors import DataError
from dreamprm.data.question_reader import Say, reading_arguments, require_unique_ids
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import read_candidate_records
from dreamprm.data.records import CandidateRecord, QuestionRecord
from dreamprm.generators.prompting import asked_question, question_text
from dreamprm.runtime.settings import QuestionFileSettings


def open_candidates(
    path: str,
    settings: QuestionFileSettings,
    questions: Sequence[QuestionRecord],
    *,
    say: Say = print,
    truncated_image: str = "error",
    reports: list[ReadReport] | None = None,
) -> tuple[list[QuestionRecord], dict[str, CandidateRecord]]:
    """Candidate records and the questions they answer: the given ones, or those in the records themselves.

    With given questions, the images are theirs; otherwise the records' image paths are relative to
    `image_root` or the records' own folder. `truncated_image` and `reports` are as for `open_questions`.

    Raises:
        UserError, DataError: as raised by the reader.
        DataError: two records have the same id, or an id belongs to none of the given questions.
    """
    report = ReadReport()
    reading = reading_arguments(settings, truncated_image)
    if settings.files:  # the images are the questions'; those of the candidates are not read
        reading |= {"image_root": None, "missing_image": "keep", "allow_no_image": True}
    records = list(read_candidate_records(path, report=report, **reading))
    if reports is not None and not settings.files:
        reports.append(report)
    for line in report.lines():
        say(f"{path}: {line}")
    require_unique_ids([record.id for record in records], path)
    by_id = {record.id: record for record in records}
    if not settings.files:
        return [asked_question(record) for record in records], by_id
    known = {question.id for question in questions}
    strange = [record.id for record in records if record.id not in known]
    if strange:
        raise DataError(
            f"{path}: {len(strange)} of {len(records)} records have an id that no question in "
            f"questions.files has; the first is {strange[0]!r}. Give the questions that they answer, or "
            "omit questions.files to take question and answer from the records themselves"
        )
    answered = [question for question in questions if question.id in by_id]
    others = [one.id for one in answered if by_id[one.id].question not in _forms(one)]
    if others:
        say(
            f"{path}: {len(others)} of {len(answered)} records have another question text than "
            f"questions.files has under their id; the first is {others[0]!r}. If their CoTs answer an "
            "earlier version of these questions, their labels are wrong: sample them again"
        )
    if len(answered) < len(questions):
        say(
            f"{path}: no CoT for {len(questions) - len(answered)} of {len(questions)} questions; they "
            "are left out"
        )
    return answered, by_id


def _forms(question: QuestionRecord) -> tuple[str, str]:
    """A question as its candidates may have it: as it is, or with its options as in a prompt."""
    return question.question, question_text(question.question, question.options)
