"""BIG-Bench-Mistake (arXiv 2311.08516): traces of reasoning with the index of their first mistake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dreamprm.data.fields import Fields
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.json_rows import json_rows
from dreamprm.formats.option_checks import optional_name
from dreamprm.formats.records.first_error_labels import first_error_labels, first_wrong_step, without_blank
from dreamprm.formats.records.right_or_wrong import DropImages, RightOrWrong, Unlabelled, text_only
from dreamprm.formats.row_files import domain_of, records_of
from dreamprm.formats.writers import write_json_lines

HELP = "BIG-Bench-Mistake: traces labelled with their first mistake, as step records"


def read(
    path: str | Path,
    *,
    domain: str | None = None,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[StepRecord]:
    """Read a BIG-Bench-Mistake file: `input`, `steps`, `mistake_index` (0-based; null: no mistake).

    A step's label is 1 before the first mistake and 0 from it on (`first_error_labels`), all 1 where there is
    none. The annotators judged the logic, not the answer: a trace without a mistake may end in a wrong answer
    and the reverse; the labels follow the annotation. `answer` and `target` are not kept. The question is
    `input` as it is: for dyck_languages, word_sorting and multistep_arithmetic it does not say what is asked.
    A blank step (one in the published 2,186 traces) is left out; see `without_blank`.
    Source: Tyen et al., "LLMs cannot find reasoning errors, but can correct them given the error location";
    files as in github.com/WHGTyen/BIG-Bench-Mistake, Apache-2.0.

    Args:
        path: a JSON Lines file or a JSON array.
        domain: the domain of its records; None for the file's name without its ending.
        on_error, max_bad_fraction, report: as in `read_step_records`.

    Yields:
        One record a trace, in the file's order. The files have no ids: a record's is file name and line.

    Raises:
        UserError: no such file.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    optional_name("domain", domain)
    tolerance = Tolerance(on_error, max_bad_fraction)
    rows = json_rows(path)
    return records_of(rows, lambda row: _record(row, domain), path=path, tolerance=tolerance, report=report)


def write(
    records: Iterable[StepRecord],
    path: str | Path,
    *,
    threshold: float | None = None,
    unlabelled: Unlabelled = "error",
    images: DropImages = "error",
    report: ConvertReport | None = None,
) -> None:
    """Write step records as a BIG-Bench-Mistake file, JSON Lines.

    `answer` and `target` are null: our records do not know them. Numbers of rollouts are not kept. `id` and
    `domain` are added.

    Args:
        records, path, threshold, unlabelled, images, report: as of `processbench.write`.

    Raises:
        UserError, DataError: as `processbench.write`.
    """
    rule = RightOrWrong(threshold, unlabelled)
    kept = rule.labelled(text_only(records, images), report)
    write_json_lines(path, (_row(record, rule) for record in kept))


def _record(fields: Fields, domain: str | None) -> StepRecord:
    given = _steps(fields)
    steps, places = without_blank(given)
    mistake = _mistake(fields, len(given))
    return StepRecord(
        question=fields.text("input"),
        images=(),
        domain=domain_of(fields, domain),
        steps=steps,
        labels=first_error_labels(len(steps), None if mistake is None else places[mistake]),
        rollouts=(None,) * len(steps),
        id=fields.identifier(),
    )


def _steps(fields: Fields) -> list[str]:
    allowed = "a list of texts, at least one of them not empty"
    steps = fields.require("steps", allowed)
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise fields.error("steps", allowed)
    if not any(step.strip() for step in steps):
        raise fields.error("steps", allowed)
    return steps


def _mistake(fields: Fields, steps: int) -> int | None:
    allowed = f"the index of the first mistake, a whole number in 0..{steps - 1}, or null for none"
    if "mistake_index" not in fields.values:
        raise fields.missing("mistake_index", allowed)
    index = fields.values["mistake_index"]
    if index is None:
        return None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < steps:
        raise fields.error("mistake_index", allowed)
    return index


def _row(record: StepRecord, rule: RightOrWrong) -> dict[str, Any]:
    return {
        "input": record.question,
        "target": None,
        "answer": None,
        "steps": list(record.steps),
        "mistake_index": first_wrong_step(record, rule),
        "id": record.id,
        "domain": record.domain,
    }
