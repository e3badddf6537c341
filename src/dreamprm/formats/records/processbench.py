"""ProcessBench (arXiv 2412.06559): solutions of mathematical problems, with the first wrong step of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.records.first_errors import FirstErrorWriter, first_error_labels
from dreamprm.formats.records.step_format import StepReader
from dreamprm.formats.writers import write_json_array


@dataclass(frozen=True)
class ProcessBench(StepReader):
    """A ProcessBench file: `id`, `problem`, `steps`, `label` (the first wrong step's index, or -1).

    JSON Lines or a JSON array. A step's label is 1 before the first wrong step and 0 from it on
    (`first_error_labels`). There are no rollouts or images. `final_answer_correct` is kept, `generator` is
    not. Published by its authors as Qwen/ProcessBench, Apache-2.0.
    """

    help = "ProcessBench: solutions labelled with their first wrong step, as step records"
    signature = (("problem", "steps", "label"),)

    def record(self, row: Fields) -> StepRecord:
        """The record of one solution."""
        steps = row.texts("steps")
        if not steps:
            raise row.error("steps", "at least one step")
        allowed = f"the index of the first wrong step, a whole number in 0..{len(steps) - 1}, or -1 for none"
        first = row.require("label", allowed)
        if isinstance(first, bool) or not isinstance(first, int) or not -1 <= first < len(steps):
            raise row.error("label", allowed)
        labels = first_error_labels(len(steps), None if first == -1 else first)
        return self.step_record(row, question=row.text("problem"), steps=steps, labels=labels)


@dataclass(frozen=True)
class ProcessBenchWriter(FirstErrorWriter):
    """Writes a JSON array. `generator` is null, as our records lack it."""

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one solution."""
        first = self.first_wrong_step(record)
        return {
            "id": record.id,
            "generator": None,
            "problem": record.question,
            "steps": list(record.steps),
            "final_answer_correct": record.final_answer_correct,
            "label": -1 if first is None else first,
            "domain": record.domain,
        }

    def write_rows(self, path: Path, rows: Iterator[dict[str, Any]]) -> None:
        """Write one array."""
        write_json_array(path, rows)
