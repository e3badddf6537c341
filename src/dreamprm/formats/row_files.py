"""Records of foreign rows, of which each is read on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import Tolerance
from dreamprm.formats.format import ConvertReport, NotChosen

R = TypeVar("R")


def records_of(
    rows: Iterable[Fields | DataError],
    record: Callable[[Fields], R],
    *,
    path: str | Path,
    tolerance: Tolerance,
    report: ConvertReport | None,
) -> Iterator[R]:
    """The records of a foreign file's rows, of which each is read on its own.

    Args:
        rows: the rows; an error stands for one that cannot be read.
        record: makes the record of one row; `DataError` for a bad one, `NotChosen` for one to pass over.
        path: the file, for messages.
        tolerance: what a bad row does.
        report: filled in where given.

    Raises:
        DataError: a bad row, or too many of them, as `tolerance` says.
    """
    report = ConvertReport() if report is None else report
    for row in rows:
        report.rows += 1
        try:
            if isinstance(row, DataError):
                raise row
            made = record(row)
        except DataError as error:
            tolerance.take(error, report, Path(path))
        except NotChosen as reason:
            report.pass_over(str(reason))
        else:
            yield made
    tolerance.judge(report, Path(path))


def domain_of(fields: Fields, domain: str | None) -> str:
    """The domain of a row: as told, else its own `domain` (our writers add one), else the file's name."""
    return domain or fields.optional_text("domain") or fields.path.stem
