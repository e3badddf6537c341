"""ProcessBench (arXiv 2412.06559): solutions of mathematical problems with their first wrong step."""

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
from dreamprm.formats.records.first_error_labels import first_error_labels, first_wrong_step
from dreamprm.formats.records.right_or_wrong import DropImages, RightOrWrong, Unlabelled, text_only
from dreamprm.formats.row_files import domain_of, records_of
from dreamprm.formats.writers import write_json_array

HELP = "ProcessBench: solutions labelled with their first wrong step, as step records"


def read(
    path: str | Path,
    *,
    domain: str | None = None,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[StepRecord]:
    """Read a ProcessBench file: `id`, `problem`, `steps`, `label` (the first wrong step's index, or -1).

    A step's label is 1 before the first wrong step and 0 from it on (`first_error_labels`). No rollouts, no
    images. `generator` and `final_answer_correct` are not kept. Published by its authors as
    Qwen/ProcessBench, Apache-2.0.

    Args:
        path: a JSON array or a JSON Lines file.
        domain: the domain of its records; None for the file's name without its ending.
        on_error, max_bad_fraction, report: as in `read_step_records`.

    Yields:
        One record a solution, in the file's order.

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
    """Write step records as a ProcessBench file, a JSON array.

    `generator` and `final_answer_correct` are null: our records do not know them. Numbers of rollouts are not
    kept. `domain` is added.

    Args:
        records: step records.
        path: the file.
        threshold: labels above it are right; None: they must be 0 or 1, with no 1 behind a 0.
        unlabelled: a record with a null label is an `error`, or is left out (`skip`).
        images: a record with images is an `error`, or goes without them (`drop`).
        report: counts what is left out.

    Raises:
        UserError: an option outside what is allowed.
        DataError: a record that the format cannot hold, naming it and the option that decides.
    """
    rule = RightOrWrong(threshold, unlabelled)
    kept = rule.labelled(text_only(records, images), report)
    write_json_array(path, (_row(record, rule) for record in kept))


def _record(fields: Fields, domain: str | None) -> StepRecord:
    steps = fields.texts("steps")
    if not steps:
        raise fields.error("steps", "at least one step")
    allowed = f"the index of the first wrong step, a whole number in 0..{len(steps) - 1}, or -1 for none"
    first_wrong = fields.require("label", allowed)
    if isinstance(first_wrong, bool) or not isinstance(first_wrong, int):
        raise fields.error("label", allowed)
    if not -1 <= first_wrong < len(steps):
        raise fields.error("label", allowed)
    return StepRecord(
        question=fields.text("problem"),
        images=(),
        domain=domain_of(fields, domain),
        steps=steps,
        labels=first_error_labels(len(steps), None if first_wrong == -1 else first_wrong),
        rollouts=(None,) * len(steps),
        id=fields.identifier(),
    )


def _row(record: StepRecord, rule: RightOrWrong) -> dict[str, Any]:
    first = first_wrong_step(record, rule)
    return {
        "id": record.id,
        "generator": None,
        "problem": record.question,
        "steps": list(record.steps),
        "final_answer_correct": None,
        "label": -1 if first is None else first,
        "domain": record.domain,
    }
