"""Base classes of foreign formats: a reader into our records and, for some formats, a writer back."""

from __future__ import annotations

import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import declared, setting
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import OnError, ReadReport, Tolerance
from dreamprm.data.records import Record
from dreamprm.formats.json_rows import json_rows
from dreamprm.responses import StepCounts

Kind = Literal["step", "meta", "candidate", "question"]
Direction = Literal["in", "out"]
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class NotChosen(Exception):
    """A row that the options exclude; the message gives the reason, and rows are counted per reason."""


@dataclass
class ConvertReport(ReadReport):
    """What a conversion left out: bad rows (`on_error=skip`) and rows that the options exclude.

    Attributes:
        not_chosen: the number of excluded rows, by reason.
        steps: for each file whose responses were split, how many steps they have.
        cut_records: how many records were cut after some of their steps.
    """

    not_chosen: dict[str, int] = field(default_factory=dict)
    steps: dict[str, StepCounts] = field(default_factory=dict)
    cut_records: int = 0

    def pass_over(self, reason: str) -> None:
        """Count a row that the options exclude."""
        self.not_chosen[reason] = self.not_chosen.get(reason, 0) + 1

    def lines(self, shown: int = 10) -> list[str]:
        """What was left out, to be printed; empty if nothing was."""
        passed = [f"left out {count} of {self.rows}: {reason}" for reason, count in self.not_chosen.items()]
        if self.cut_records:
            passed.append(f"cut {self.cut_records} of {self.rows} after the last step that fits")
        return passed + super().lines(shown)


def each_row(
    rows: Iterable[Fields | DataError],
    make: Callable[[Fields], T],
    report: ReadReport,
    tolerance: Tolerance,
    path: Path,
) -> Iterator[T]:
    """What `make` returns for each row; bad rows are left out as `tolerance` says.

    Args:
        rows: the rows of a file; one that cannot be read is an error among them.
        make: raises `DataError` for a bad row, `NotChosen` for one to pass over.
        report: filled in while reading; a `ConvertReport` counts what is passed over by reason.
        tolerance: whether bad rows stop the reading, and how many may be left out.
        path: the file, for messages.

    Raises:
        DataError: a bad row, or too many of them.
    """
    for row in rows:
        report.rows += 1
        try:
            if isinstance(row, DataError):
                raise row
            made = make(row)
        except DataError as error:
            tolerance.take(error, report, path)
        except NotChosen as reason:
            if isinstance(report, ConvertReport):
                report.pass_over(str(reason))
        else:
            yield made
    tolerance.judge(report, path)


@dataclass(frozen=True)
class Options(ABC):
    """A frozen dataclass whose fields, declared by `setting`, are the options of one direction of a format.

    Attributes:
        shared: for a class whose options several formats share, the heading of those options in `--help`.
        may_be_blank: options whose text may be white space.

    Raises:
        UserError: an option with a value that is not allowed.
    """

    shared: ClassVar[str] = ""
    may_be_blank: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_settings(self)
        for leaf in declared(type(self)):
            value = getattr(self, leaf.key)
            blank = value.strip() == "" if isinstance(value, str) else False
            if blank and not (value and leaf.key in self.may_be_blank):
                raise UserError(f"{leaf.key} must be a non-empty text, got {value!r}")


@dataclass(frozen=True)
class Reader(Options):
    """How a foreign format is read.

    Attributes:
        kind: the kind of our records that it yields.
        help: its line in `--help`.
        signature: the fields that tell a row of the format from rows of others; several sets for a format
            with several layouts, none for one whose rows are not in one file, or have no fields of its own.
    """

    kind: ClassVar[Kind]
    help: ClassVar[str]
    signature: ClassVar[tuple[tuple[str, ...], ...]]

    @abstractmethod
    def read(self, path: Path, report: ConvertReport) -> Iterator[Record]:
        """Yield the records of a file or folder, in order.

        Image paths that the format resolves are absolute; those that it cannot resolve stay as written.

        Args:
            path: the source.
            report: filled in while reading.

        Raises:
            UserError: no such file.
            DataError: a bad record; the message names file, line, field, value and what is allowed.
        """


@dataclass(frozen=True)
class TolerantReader(Reader):
    """A reader that can leave bad rows out."""

    shared = "files read row by row"

    on_error: OnError = setting(
        "error",
        "what to do with a bad row: error, or skip (it is left out, counted and listed)",
        choices=("error", "skip"),
    )
    max_bad_fraction: float = setting(
        0.01,
        "with on_error=skip, the fraction of bad rows above which reading fails anyway",
        minimum=0,
        maximum=1,
    )

    @property
    def tolerance(self) -> Tolerance:
        """Whether bad rows stop the reading, as the options say."""
        return Tolerance(self.on_error, self.max_bad_fraction)


@dataclass(frozen=True)
class RowReader(TolerantReader):
    """Reads files in which each row is one record, or is left out."""

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """Yield the rows of a file, in order; a row that cannot be read is yielded as an error."""
        return json_rows(path)

    def records_of(
        self,
        path: Path,
        record: Callable[[Fields], R],
        report: ConvertReport,
        *,
        limit: int | None = None,
    ) -> Iterator[R]:
        """Yield one record per row; each row is read independently.

        Args:
            path: the source.
            record: makes the record of one row; raises `DataError` for a bad row, `NotChosen` for one to pass
                over.
            report: filled in while reading.
            limit: stop after this many records.

        Raises:
            DataError: a bad row, or too many of them.
        """
        made = each_row(self.rows(path), record, report, self.tolerance, path)
        yield from made if limit is None else itertools.islice(made, limit)
        if limit is not None:  # the rest is not read, and judges nothing
            self.tolerance.judge(report, path)


@dataclass(frozen=True)
class Writer(Options):
    """How our records are written in a foreign format."""

    @abstractmethod
    def write(self, records: Iterable[Any], path: Path, report: ConvertReport) -> None:
        """Write records of the format's kind.

        Args:
            records: the records.
            path: a temporary file with the destination's ending; the caller renames it once it is complete.
            report: counts what is left out.

        Raises:
            DataError: a record that the format cannot represent; the message names it and the option to set.
        """


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Attributes:
        reader: the class that reads it.
        writer: the class that writes it; None if the format can only be read.
    """

    reader: type[Reader]
    writer: type[Writer] | None = None

    @property
    def kind(self) -> Kind:
        """The kind of our records that it yields."""
        return self.reader.kind

    @property
    def help(self) -> str:
        """Its line in `--help`."""
        return self.reader.help

    def options(self, direction: Direction = "in") -> tuple[str, ...]:
        """Names of the format's options in one direction: its own first, then the shared ones."""
        side = self.reader if direction == "in" else self.writer
        if side is None:
            return ()
        fields = [one.name for one in dataclasses.fields(side)]
        own = side.__dict__.get("__annotations__", {})
        return tuple(sorted(fields, key=lambda name: name not in own))

    def read(
        self, path: str | Path, *, report: ConvertReport | None = None, **options: Any
    ) -> Iterator[Record]:
        """Read a file or folder (see `Reader.read`); the options are those of direction `in`."""
        return self.reader(**options).read(Path(path), ConvertReport() if report is None else report)

    def write(
        self,
        records: Iterable[Any],
        path: str | Path,
        *,
        report: ConvertReport | None = None,
        **options: Any,
    ) -> None:
        """Write records (see `Writer.write`); the options are those of direction `out`."""
        assert self.writer is not None, "the format can only be read"
        self.writer(**options).write(records, Path(path), ConvertReport() if report is None else report)
