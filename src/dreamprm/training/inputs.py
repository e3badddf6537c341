"""A run's files, opened and checked: step records and meta set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.consensus import Consensus, ConsensusOn
from dreamprm.data.label_rule import LabelRule
from dreamprm.data.read_report import OnError, ReadReport
from dreamprm.data.readers import require_steps
from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.data.shortcut_audit import audit_shortcuts, require_both_classes
from dreamprm.data.text_reader import TextRecord, read_text_records
from dreamprm.files.content import FileDigests
from dreamprm.files.distinct import require_distinct
from dreamprm.training.settings import DataSettings

Say = Callable[[str], None]


def open_training_data(
    data: DataSettings, *, say: Say = print, digests: FileDigests | None = None
) -> RecordTable[StepRecord]:
    """All step records with the labels of their files, as one memory-mapped table.

    `digests` are as for `RecordTable.open`; `with_trained_labels` makes of the labels what is trained on.

    Raises:
        DataError: a bad record, or a file from which every record was left out.
    """
    require_distinct([*(file.path for file in data.train), data.meta], "data.train and data.meta")
    filters = {} if data.consensus is None else {"consensus": _consensus(data)}
    tables = []
    for file in data.train:
        table = RecordTable.open(
            file.path,
            kind="step",
            cache_dir=data.cache_dir,
            digests=digests,
            domain=file.domain,
            stepless=data.stepless,
            max_bad_fraction=data.max_bad_fraction,
            **filters,
            **_reading(data),
        )
        _report(file.path, table.reports, say)
        if not len(table):
            # Without this check, a domain could silently vanish from the weights.
            domain = "its domain" if file.domain is None else f"domain {file.domain!r}"
            raise DataError(
                f"{file.path}: every record was left out, so {domain} has no sample; fix the "
                "file or take it out of data.train"
            )
        say(f"{file.path}: {table.step_counts().line('CoTs')}")
        tables.append(table)
    return RecordTable.concatenate(tables)


def label_rule(data: DataSettings) -> LabelRule:
    """What the settings make of the labels in the files."""
    return LabelRule(
        hard=data.labels == "hard", threshold=data.right_above, mask=data.mask == "after_first_error"
    )


def _consensus(data: DataSettings) -> Consensus:
    assert data.consensus is not None
    return Consensus(data.consensus, cast(ConsensusOn, data.consensus_on), data.right_above)


def with_trained_labels(
    table: RecordTable[StepRecord], data: DataSettings, *, say: Say = print
) -> RecordTable[StepRecord]:
    """The table with the labels that are trained on, which are counted; as it is where nothing changes them.

    Raises:
        UserError: labels were made hard or taken away, and those that are left are all right, or all wrong.
    """
    rule = label_rule(data)
    if not rule.changes and data.consensus is None:
        return table
    table = table.relabelled(rule)
    counts = table.label_counts()
    told = f"right (above {rule.threshold:g}) {counts.right:,}, wrong {counts.wrong:,}"
    if rule.hard:
        told += f"; data.labels=hard changed {counts.changed:,}"
    if rule.mask:
        told += (
            f"; data.mask took away {counts.masked:,} after the first error of {counts.masked_cots:,} CoTs"
        )
    say(f"labels: {told}")
    if not counts.right or not counts.wrong:
        side, other = ("right", "wrong") if counts.right else ("wrong", "right")
        read = {"label_threshold": f"{rule.threshold:g}", "mask": data.mask, "consensus": data.consensus}
        given = ", ".join(f"data.{key}={value or 'null'}" for key, value in read.items())
        raise UserError(
            f"all {counts.right + counts.wrong:,} labels are {side} ({given}), and a PRM learns nothing from "
            f"one class: change these settings, or give data with {other} steps"
        )
    return table


def open_meta_data(
    data: DataSettings,
    *,
    say: Say = print,
    digests: FileDigests | None = None,
    reports: list[ReadReport] | None = None,
) -> list[MetaRecord]:
    """The meta records that have steps; all records go through the shortcut audit first.

    Args:
        reports: receives the reports of reading the file, and of leaving out what has no steps.

    Raises:
        UserError: records without steps (unless `stepless=skip`), or labels of one class only.
    """
    table = RecordTable.open(
        data.meta,
        kind="meta",
        cache_dir=data.cache_dir,
        digests=digests,
        max_bad_fraction=data.max_bad_fraction,
        **_reading(data),
    )
    _report(data.meta, table.reports, say)
    if reports is not None:
        reports += table.reports
    records = list(table)
    say(f"{data.meta}: {table.step_counts().line('CoTs')}")
    for warning in audit_shortcuts(records).warnings(data.audit_bound):
        say(f"{data.meta}: {warning}")
    report = ReadReport(rows=len(records))
    kept = list(require_steps(records, cast(Literal["error", "skip"], data.stepless), report=report))
    _report(data.meta, [report], say)
    if reports is not None:
        reports.append(report)
    require_both_classes(kept)
    return kept


def open_texts(data: DataSettings, *, say: Say = print, reports: list[ReadReport]) -> list[TextRecord]:
    """The pool of texts; `reports` receives the report of reading it.

    Raises:
        DataError: as `read_text_records`.
    """
    assert data.lm is not None, "the schema wants data.lm with lm_weight > 0"
    report = ReadReport()
    texts = read_text_records(
        data.lm,
        image_root=data.image_root,
        allow_outside=data.allow_outside,
        on_error=cast(OnError, data.on_error),
        max_bad_fraction=data.max_bad_fraction,
        report=report,
    )
    _report(data.lm, [report], say)
    reports.append(report)
    return texts


def _reading(data: DataSettings) -> dict[str, Any]:
    return {
        "image_root": data.image_root,
        "missing_image": data.missing_image,
        "on_error": data.on_error,
        "allow_no_image": data.allow_no_image,
        "allow_outside": data.allow_outside,
    }


def _report(path: str, reports: list[ReadReport], say: Say) -> None:
    for report in reports:
        for line in report.lines():
            say(f"{path}: {line}")
