"""TRL's stepwise supervision: a prompt, its completions (the steps) and a boolean for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dreamprm.data.fields import Fields
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.image_folder import images_of
from dreamprm.formats.json_rows import json_rows
from dreamprm.formats.option_checks import optional_name
from dreamprm.formats.records.right_or_wrong import RightOrWrong, Unlabelled
from dreamprm.formats.row_files import domain_of, records_of
from dreamprm.formats.tables import read_table
from dreamprm.formats.writers import write_json_lines

HELP = "TRL stepwise supervision: prompt, completions, boolean labels, as step records"


def read(
    path: str | Path,
    *,
    domain: str | None = None,
    split: str | None = None,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[StepRecord]:
    """Read a file of TRL's stepwise-supervision type: `prompt`, `completions`, `labels`.

    Source: "Dataset formats and types" of TRL's documentation, type "stepwise supervision" (standard format;
    the type has no conversational one); `trl-lib/math_shepherd` is an example. A label is true or false;
    numbers in [0, 1] are read too, since some files of this type hold them. Image paths are taken, as
    written, from the optional columns `images` or `image`.

    Args:
        path: a JSON Lines file or a JSON array; or a parquet or arrow file, or a folder of the parquet files
            that the hub has.
        domain: the domain of its records; None: each row's own `domain`, or else the file's name without its
            ending.
        split: of a folder with several splits, which.
        on_error, max_bad_fraction, report: as in `read_step_records`.

    Yields:
        One record a row, in the file's order; its id is the row's `id`, or else file name and line.

    Raises:
        UserError: no such file.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    optional_name("domain", domain)
    tolerance = Tolerance(on_error, max_bad_fraction)
    optional_name("split", split)
    known = Path(path).is_dir() or Path(path).suffix.lower() in (".parquet", ".arrow")
    rows = read_table(path, split=split) if known or split is not None else json_rows(path)
    return records_of(rows, lambda row: _record(row, domain), path=path, tolerance=tolerance, report=report)


def write(
    records: Iterable[StepRecord],
    path: str | Path,
    *,
    threshold: float | None = None,
    unlabelled: Unlabelled = "error",
    report: ConvertReport | None = None,
) -> None:
    """Write step records as a JSON Lines file of TRL's stepwise-supervision type.

    Numbers of rollouts are not kept. `id` and `domain` are added, and `images` where there are any.

    Args:
        records: step records.
        path: the file; `datasets.load_dataset("json", data_files=...)` opens it.
        threshold: labels above it become true; None: they must be 0 or 1.
        unlabelled: a record with a null label is an `error`, or is left out (`skip`).
        report: counts what is left out.

    Raises:
        UserError: an option outside what is allowed.
        DataError: a record that the format cannot hold, naming it and the option that decides.
    """
    rule = RightOrWrong(threshold, unlabelled)
    write_json_lines(path, (_row(record, rule) for record in rule.labelled(records, report)))


def _record(fields: Fields, domain: str | None) -> StepRecord:
    steps = fields.texts("completions")
    if not steps:
        raise fields.error("completions", "at least one step")
    return StepRecord(
        question=fields.text("prompt"),
        images=images_of(fields, "images" if "images" in fields else "image"),
        domain=domain_of(fields, domain),
        steps=steps,
        labels=_labels(fields, len(steps)),
        rollouts=(None,) * len(steps),
        id=fields.identifier(),
    )


def _labels(fields: Fields, steps: int) -> tuple[float | None, ...]:
    allowed = f"a list of {steps} values true or false, one a completion"
    labels = fields.require("labels", allowed)
    if not isinstance(labels, list):
        raise fields.error("labels", allowed)
    if len(labels) != steps:
        raise fields.error("labels", allowed, f"{len(labels)} labels")
    for index, label in enumerate(labels):
        if not isinstance(label, bool | int | float) or not 0 <= label <= 1:
            raise fields.error(f"labels[{index}]", "true or false, or a number in [0, 1]", label)
    return tuple(float(label) for label in labels)


def _row(record: StepRecord, rule: RightOrWrong) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": record.id,
        "domain": record.domain,
        "prompt": record.question,
        "completions": list(record.steps),
        "labels": list(rule.right(record)),
    }
    return row | {"images": list(record.images)} if record.images else row
