"""BIG-Bench-Mistake (arXiv 2311.08516): reasoning traces with the index of their first mistake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.records.first_errors import FirstErrorWriter, first_error_labels, without_blank
from dreamprm.formats.records.step_format import StepReader


@dataclass(frozen=True)
class BigBenchMistake(StepReader):
    """A BIG-Bench-Mistake file: `input`, `steps`, `mistake_index` (0-based; null: no mistake).

    JSON Lines or a JSON array. A step's label is 1 before the first mistake and 0 from it on
    (`first_error_labels`); all labels are 1 if there is none. The annotators judged the logic, not the
    answer: a trace without a mistake may end in a wrong answer, and vice versa; the labels follow the
    annotation. Of `answer` and `target`, `final_answer_correct` keeps whether they are the same text. The
    question is `input` unchanged, which for
    dyck_languages, word_sorting and multistep_arithmetic does not say what is asked. A blank step (one in the
    2,186 published traces) is left out; see `without_blank`. The files have no ids, so a record's id is its
    file name and line.
    Source: Tyen et al., "LLMs cannot find reasoning errors, but can correct them given the error location";
    files as in github.com/WHGTyen/BIG-Bench-Mistake, Apache-2.0.
    """

    help = "BIG-Bench-Mistake: traces labelled with their first mistake, as step records"
    signature = (("input", "steps", "mistake_index"),)

    def record(self, row: Fields) -> StepRecord:
        """The record of one trace."""
        given = _steps(row)
        steps, places = without_blank(given)
        mistake = _mistake(row, len(given))
        labels = first_error_labels(len(steps), None if mistake is None else places[mistake])
        answer, target = row.optional_text("answer"), row.optional_text("target")
        outcome = None if answer is None or target is None else answer.strip() == target.strip()
        return self.step_record(
            row, question=row.text("input"), steps=steps, labels=labels, final_answer_correct=outcome
        )


@dataclass(frozen=True)
class BigBenchMistakeWriter(FirstErrorWriter):
    """Writes JSON Lines. `answer` and `target` are null, as our records lack them. `id` is added."""

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one trace."""
        return {
            "input": record.question,
            "target": None,
            "answer": None,
            "steps": list(record.steps),
            "mistake_index": self.first_wrong_step(record),
            "id": record.id,
            "domain": record.domain,
            "final_answer_correct": record.final_answer_correct,
        }


def _steps(row: Fields) -> list[str]:
    allowed = "a list of texts, at least one of them non-empty"
    steps = row.require("steps", allowed)
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise row.error("steps", allowed)
    if not any(step.strip() for step in steps):
        raise row.error("steps", allowed)
    return steps


def _mistake(row: Fields, steps: int) -> int | None:
    allowed = f"the index of the first mistake, a whole number in 0..{steps - 1}, or null for none"
    if "mistake_index" not in row.values:
        raise row.missing("mistake_index", allowed)
    index = row.values["mistake_index"]
    if index is None:
        return None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < steps:
        raise row.error("mistake_index", allowed)
    return index
