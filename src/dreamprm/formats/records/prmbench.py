"""PRMBench (arXiv 2501.03124): solutions with inserted errors of nine kinds, which need not be contiguous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.records.step_format import StepReader, TextOnlyWriter

CORRECT = "correct"
"""The domain of the unmodified solutions, which PRMBench's figures do not count."""

_WITH_ORIGINALS = "redundency"  # the authors' spelling
"""The kind of error whose rows also give their unmodified solutions, as in the authors' loader."""


@dataclass(frozen=True)
class PRMBench(StepReader):
    """A PRMBench file: `modified_question`, `modified_process`, `error_steps`, `classification`, `idx`.

    `error_steps` are the numbers, from 1, of the wrong steps: label 0; all others have label 1, also after an
    error, so that ProcessBench's form would lose them. A number past the last step names none, and does not
    count, as in the authors' evaluation. Rows of `multi_solutions` have none. The domain is the
    `classification`; rows of `redundency` also give their unmodified solution (`original_question`,
    `original_process`), as the authors' loader does, with the domain `correct`. A later row with the same
    `idx` and kind is left out, as there. The id is KIND_IDX, as kinds share their `idx`. `reason` and
    `modified_steps` are not kept.

    Source: github.com/ssmisya/PRMBench (`docs/data_format.md`, `mr_eval/tasks/prmtest_classified`).
    """

    help = "PRMBench: solutions with inserted errors, as step records; one domain per kind of error"
    signature = (("modified_question", "modified_process", "error_steps", "classification"),)

    def read(self, path: Path, report: ConvertReport) -> Iterator[StepRecord]:
        """The records of each row: the unmodified solution, if it counts, and the modified one."""
        seen: set[tuple[str, str]] = set()
        for records in self.records_with_images(path, self._records, report):
            for domain, record in records:
                if (domain, record.id) in seen:
                    report.pass_over("a second solution with the same idx and kind")
                    continue
                seen.add((domain, record.id))
                yield record

    def record(self, row: Fields) -> StepRecord:
        """The record of the modified solution."""
        return self._records(row)[-1][1]

    def _records(self, row: Fields) -> list[tuple[str, StepRecord]]:
        kind, given = row.text("classification"), row.optional_text("idx")
        name = row.identifier() if given is None or "id" in row else f"{kind}_{given}"
        process = _steps(row, "modified_process")
        question = row.text("modified_question")
        records = [(kind, self._made(row, question, process, _errors(row, len(process)), name, kind))]
        if kind == _WITH_ORIGINALS and "original_process" in row:
            original = _steps(row, "original_process")
            asked, other = row.text("original_question"), f"{CORRECT}_{name.removeprefix(f'{kind}_')}"
            records.insert(0, (CORRECT, self._made(row, asked, original, (), other, CORRECT)))
        return records

    def _made(
        self, row: Fields, question: str, steps: Sequence[str], errors: Sequence[int], name: str, kind: str
    ) -> StepRecord:
        kept = [(step, 0.0 if k in errors else 1.0) for k, step in enumerate(steps, start=1) if step.strip()]
        return self.step_record(
            row,
            question=question,
            steps=[step for step, _ in kept],
            labels=tuple(label for _, label in kept),
            id=name,
            domain=kind,
        )


@dataclass(frozen=True)
class PRMBenchWriter(TextOnlyWriter):
    """Writes JSON Lines; the domain becomes the `classification`, the id, without it, the `idx`.

    Records of one domain with the same id are an error, since the reader takes the first. The original
    solutions, reasons and modified steps are null.
    """

    def write_rows(self, path: Path, rows: Iterator[dict[str, Any]]) -> None:
        """Write the rows to a file, one per line."""
        super().write_rows(path, self._distinct(rows))

    def _distinct(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        seen: set[tuple[str, str]] = set()
        for row in rows:
            if (name := (row["classification"], row["idx"])) in seen:
                raise DataError(
                    f"record {row['idx']}: a second one of domain {row['classification']} with this id, by"
                    " which the format tells solutions apart; give each an id of its own"
                )
            seen.add(name)
            yield row

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        idx = record.id.removeprefix(f"{record.domain}_")
        own = {} if record.id == f"{record.domain}_{idx}" else {"id": record.id}
        return own | {
            "original_question": None,
            "modified_question": record.question,
            "original_process": None,
            "modified_process": list(record.steps),
            "modified_steps": None,
            "error_steps": [k for k, right in enumerate(self.right(record), start=1) if not right],
            "reason": None,
            "idx": idx,
            "question": record.question,
            "classification": record.domain,
        }


def _steps(row: Fields, name: str) -> list[str]:
    allowed = "a list of texts, at least one of them non-empty"
    steps = row.require(name, allowed)
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise row.error(name, allowed)
    if not any(step.strip() for step in steps):
        raise row.error(name, allowed)
    return steps


def _errors(row: Fields, steps: int) -> tuple[int, ...]:
    allowed = f"a list of the numbers of wrong steps, each from 1 to {steps}"
    if "error_steps" not in row.values:
        raise row.missing("error_steps", allowed)
    errors = row.values["error_steps"]
    if not isinstance(errors, list):
        raise row.error("error_steps", allowed)
    for index, error in enumerate(errors):
        if isinstance(error, bool) or not isinstance(error, int) or error < 1:
            raise row.error(f"error_steps[{index}]", f"the number of a step, 1 to {steps}", error)
    return tuple(errors)
