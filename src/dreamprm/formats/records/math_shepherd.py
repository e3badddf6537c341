"""Math-Shepherd (arXiv 2312.08935): steps that end with the tag "ки" in one text, with + or - in another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.records.step_format import StepReader, TextOnlyWriter, before_first_step
from dreamprm.formats.table_files import read_any

TAG = "ки"
_SIGNS = {"+": 1.0, "-": 0.0}


@dataclass(frozen=True)
class MathShepherd(StepReader):
    """A Math-Shepherd file: `input`, `label`, `task`.

    `input` is the question and the solution, "Step 1: ... ки", with a tag at the end of each step; `label` is
    the same text with "+" or "-" in place of each tag. "+" (label 1) says that some completion of the prefix
    was right (the authors' hard estimation), not that the step is. The question is what precedes the last
    "Step 1:" before the first tag; a row with a `question`, as the writer adds it, needs no such heading.
    `task` (GSM8K, MATH) is the domain. JSON Lines, a JSON array, parquet, or a folder of parquet files.

    Source: the data card of peiyi9979/Math-Shepherd.
    """

    help = 'Math-Shepherd: steps that end with "ки" in `input`, with + or - in `label`, as step records'
    signature = (("input", "label", "task"),)

    split: str | None = setting(None, "which split of a folder with several splits")

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table, or of a JSON file with any ending."""
        return read_any(path, split=self.split)

    def record(self, row: Fields) -> StepRecord:
        """The record of one row."""
        pieces = row.text("input").split(TAG)
        if len(pieces) == 1:
            raise row.error("input", f"a text with the tag {TAG!r} at the end of each step")
        labels = _labels(row, pieces)
        question, pieces[0] = _question(row, pieces[0])
        judged = [(piece.strip(), label) for piece, label in zip(pieces, labels, strict=False)]
        kept = [(step, label) for step, label in judged if step]
        if not kept:
            raise row.error("input", "at least one step that is not empty")
        if pieces[-1].strip():
            raise row.error("input", f"a tag {TAG!r} after the last step", pieces[-1])
        return self.step_record(
            row,
            question=question,
            steps=[step for step, _ in kept],
            labels=tuple(label for _, label in kept),
            domain=row.optional_text("task"),
        )


@dataclass(frozen=True)
class MathShepherdWriter(TextOnlyWriter):
    """Writes JSON Lines. `id`, `domain` (which is also `task`) and `question` are added.

    White space around steps and numbers of rollouts are not kept. A "ки" in a question or a step is
    an error, as it would be read as a tag.
    """

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        for text in (record.question, *record.steps):
            if TAG in text:
                raise DataError(f"record {record.id}: {text[:60]!r} contains {TAG!r}, the format's step tag")
        steps = [step.strip() for step in record.steps]
        signs = ["+" if right else "-" for right in self.right(record)]
        return {
            "input": f"{record.question} " + "\n".join(f"{step} {TAG}" for step in steps),
            "label": f"{record.question} " + "\n".join(map(" ".join, zip(steps, signs, strict=True))),
            "task": record.domain,
            "question": record.question,
            "id": record.id,
            "domain": record.domain,
        }


def _labels(row: Fields, pieces: list[str]) -> list[float]:
    """The labels at the places of the tags."""
    text, labels, place = row.text("label"), [], 0
    allowed = f"the text of `input` with + or - in place of each {TAG!r}"
    for number, piece in enumerate(pieces[:-1], start=1):
        end = place + len(piece)
        if text[place:end] != piece or text[end : end + 1] not in _SIGNS:
            found = text[max(0, end - 20) : end + 20]
            raise row.error("label", f"{allowed}; it is another one at the tag {number}", found)
        labels.append(_SIGNS[text[end]])
        place = end + 1
    if text[place:].strip() != pieces[-1].strip():
        raise row.error("label", f"{allowed}; it ends otherwise", text[place:])
    return labels


def _question(row: Fields, text: str) -> tuple[str, str]:
    """The question, and the first step behind it."""
    if "question" in row:
        question = row.text("question")
        if not text.startswith(question):
            raise row.error("question", "the text that `input` begins with")
        return question, text[len(question) :]
    place = before_first_step(text)
    if not text[:place].strip():
        raise row.error("input", "a question, then 'Step 1:'", text)
    return text[:place].strip(), text[place:]
