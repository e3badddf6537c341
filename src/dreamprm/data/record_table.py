"""Files of records: written atomically, and read as memory-mapped tables with fast random access."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamprm.config.errors import UserError
from dreamprm.data.arrow_forms import FORMS, ArrowForm
from dreamprm.data.image_paths import vouch
from dreamprm.data.label_rule import LabelCounts, LabelRule
from dreamprm.data.read_report import ReadReport
from dreamprm.data.records import CandidateRecord, MetaRecord, Record, StepRecord, to_json
from dreamprm.files.atomic import atomic_folder, make_folder, remove_ended, write_lines_atomically
from dreamprm.files.content import FileDigests, content_key
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.locks import path_in_turn
from dreamprm.responses import StepCounts

R = TypeVar("R", StepRecord, MetaRecord, CandidateRecord)
Kind = Literal["step", "meta", "candidate"]

_FORM = 7  # part of the cache key: raise it when the stored form or what the readers return changes
_BATCH_ROWS = 1000
_TABLE, _REPORT = "records.arrow", "report.json"


class LabelRange(NamedTuple):
    """The number of labels, the smallest and the largest; all 0 without labels."""

    known: int
    least: float
    most: float


def write_records(path: str | Path, records: Iterable[Record], *, images_checked: bool = True) -> int:
    """Write records in the package's own form, one JSON object per line.

    The file is written completely or not at all.

    Args:
        path: the file; its folder is created if missing, and an older file of that name is replaced.
        records: records of any kind.
        images_checked: whether their image paths are the writer's own, or were checked when they were read;
            the readers then accept them wherever they lead (`dreamprm.data.image_paths`).

    Returns:
        The number of records written.

    Raises:
        ValueError: a label is not a number that JSON can represent (NaN, infinity).
    """
    path = Path(path)
    make_folder(path.parent)
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for record in records:
            yield json.dumps(to_json(record), ensure_ascii=False, allow_nan=False) + "\n"
            count += 1

    write_lines_atomically(path, lines())
    if images_checked:
        vouch(path)
    return count


class RecordTable(Generic[R]):
    """Records of one or several files, memory-mapped: `table[i]`, `table.get(indices)`, `len(table)`.

    The first `open` of a file validates it and stores it as Arrow under `cache_dir`; later calls, and loader
    workers, map that copy, so a file of any size takes no memory and opens at once. A table is pickled as the
    paths of its copies.

    Attributes:
        reports: for each file, what was left out when it was read, and later (`without`).
        domains: row numbers by domain (int64, in file order), with domains in order of first appearance;
            empty for records that have no domain.
        rule: what is made of the labels of its step records (`relabelled`).
    """

    def __init__(
        self, folders: Sequence[Path], kept: np.ndarray | None = None, rule: LabelRule | None = None
    ) -> None:
        """Map existing copies; use `open` to create them, `without` to leave rows out, and `relabelled`."""
        self._folders = [Path(folder) for folder in folders]
        self.reports = [_stored_report(folder) for folder in self._folders]
        self._parts, self._data = _memory_mapped([folder / _TABLE for folder in self._folders])
        self._kept = kept  # the rows of the copies that are in the table; None: all
        self.rule = LabelRule() if rule is None else rule
        columns = self._data.column_names
        self._form = next(form for form in FORMS.values() if form.schema.names == columns)
        self.domains: dict[str, np.ndarray] = {}
        if "domain" in columns:
            self.domains = _rows_by_domain(self._column("domain"))

    @overload
    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        kind: Literal["step"],
        cache_dir: str | Path,
        digests: FileDigests | None = None,
        **settings: Any,
    ) -> RecordTable[StepRecord]: ...

    @overload
    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        kind: Literal["meta"],
        cache_dir: str | Path,
        digests: FileDigests | None = None,
        **settings: Any,
    ) -> RecordTable[MetaRecord]: ...

    @overload
    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        kind: Literal["candidate"],
        cache_dir: str | Path,
        digests: FileDigests | None = None,
        **settings: Any,
    ) -> RecordTable[CandidateRecord]: ...

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        kind: Kind,
        cache_dir: str | Path,
        digests: FileDigests | None = None,
        **settings: Any,
    ) -> RecordTable[Any]:
        """Open a file of records, reading and validating it only if that has not been done before.

        The stored copy is keyed by what the file holds, its name, the folder of its images and the settings;
        if any of them changes, a new copy is made. To know the content, the file is read at every start, in
        1 s per GB: a file of the same size and modification time may be another one. A touched file keeps its
        copy; if its images are in another folder now, they are checked there. A file from which something was
        left out is validated every time, since its images may have been added since. Otherwise images are
        checked only when the copy is made. The copy is read whole too, and made anew if it was damaged.

        Args:
            path: a JSON array or a JSON Lines file.
            kind: what its records are: `step`, `meta` or `candidate`.
            cache_dir: the folder for the copies; runs and processes may share it.
            digests: of the running command; None: the file's content is read anew.
            settings: arguments of the kind's reader (`read_step_records` etc.), except `report`.

        Returns:
            A table of the records; `table.reports[0]` says what was left out.

        Raises:
            UserError, DataError: raised by the reader; UserError also for an unknown kind; DataError also for
                a file that changes while it is read. No half-written copy is left behind.
        """
        if kind not in FORMS:
            raise UserError(f"kind must be one of {', '.join(FORMS)}; got {kind!r}")
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no such file: {path}; give the path of a JSON or JSON Lines file")
        digests = FileDigests() if digests is None else digests
        folder = Path(cache_dir) / f"{path.stem}-{_key(path, kind, settings, digests)}"
        if not _is_complete(folder):
            require_folder(cache_dir, "cache_dir")
            make_folder(cache_dir)
            remove_ended(cache_dir)
            # Commands that start together share the work, and none moves a copy that another is opening.
            with path_in_turn(folder):
                if not _is_complete(folder):
                    _build(folder, path, FORMS[kind], settings, digests)
                return cls([folder])
        return cls([folder])

    @classmethod
    def concatenate(cls, tables: Sequence[RecordTable[R]]) -> RecordTable[R]:
        """One table of the rows of several tables of the same kind, in order.

        Raises:
            UserError: no table, or tables of different kinds.
        """
        kinds = {next(kind for kind, form in FORMS.items() if form is table._form) for table in tables}
        if len(kinds) != 1:
            raise UserError(f"only tables of one kind can be concatenated, got {sorted(kinds) or 'no table'}")
        assert all(table._kept is None for table in tables), "rows are left out after tables are joined"
        return RecordTable([folder for table in tables for folder in table._folders])

    def without(self, problems: Mapping[int, str]) -> RecordTable[R]:
        """The table without some of its rows, which count as bad in the reports.

        Args:
            problems: why each of them is left out, with its file and place, by row number.
        """
        rows = np.arange(len(self)) if self._kept is None else self._kept
        mask = np.ones(len(self), dtype=bool)
        mask[list(problems)] = False
        table = RecordTable[R](self._folders, rows[mask], self.rule)
        ends = np.cumsum(self._parts)
        table.reports = [dataclasses.replace(one, left_out=list(one.left_out)) for one in self.reports]
        for number, problem in sorted(problems.items()):
            report = table.reports[int(np.searchsorted(ends, rows[number], side="right"))]
            report.bad += 1
            report.leave_out(problem)
        return table

    def relabelled(self, rule: LabelRule) -> RecordTable[R]:
        """The same step records with the labels that a rule makes of those in the files.

        The stored copies hold the files' own labels, which `relabelled(LabelRule())` gives again.
        """
        table = RecordTable[R](self._folders, self._kept, rule)
        table.reports = self.reports
        return table

    @property
    def file_numbers(self) -> np.ndarray:
        """For each row, the number of its file among those of the table; int64."""
        files = np.repeat(np.arange(len(self._parts)), self._parts)
        return files if self._kept is None else files[self._kept]

    @property
    def contents(self) -> list[str]:
        """What identifies the content of each file and how it was read: the names of the copies."""
        return [folder.name for folder in self._folders]

    def __len__(self) -> int:
        return len(self._data) if self._kept is None else len(self._kept)

    def __getitem__(self, index: int) -> R:
        return self.get([index])[0]

    def __iter__(self) -> Iterator[R]:
        for start in range(0, len(self), _BATCH_ROWS):
            yield from self.get(range(start, min(start + _BATCH_ROWS, len(self))))

    def get(self, indices: Sequence[int]) -> list[R]:
        """The records of several rows at once, which is faster than one by one.

        Args:
            indices: row numbers in any order; negative ones count from the end.

        Raises:
            IndexError: a row number outside the table.
        """
        rows = np.asarray(indices, dtype=np.int64)
        outside = rows[(rows < -len(self)) | (rows >= len(self))]
        if outside.size:
            raise IndexError(f"row {outside[0]} of a table of {len(self)} rows")
        rows = rows % max(len(self), 1)
        if self._kept is not None:
            rows = self._kept[rows]
        records: list[Any] = self._form.records(self._data[rows.tolist()])
        if self.rule.changes:
            records = [self.rule.of_record(record) for record in records]
        return records

    def image_paths(self) -> list[str]:
        """The paths of all images of its files, each once, in order of first appearance.

        Those of rows that were left out by `without` too: they are a part of what the files hold.
        """
        paths: list[str] = pc.unique(pc.list_flatten(self._data.data.table.column("images"))).to_pylist()
        return paths

    def label_ranges(self) -> dict[str, LabelRange]:
        """The labels of each domain of step records, in the order of `domains`."""
        values, rows = self.labels()
        of_row = np.zeros(len(self), dtype=np.int64)
        for number, members in enumerate(self.domains.values()):
            of_row[members] = number
        domain = of_row[rows]
        found = {}
        for number, name in enumerate(self.domains):
            known = values[(domain == number) & ~np.isnan(values)]
            found[name] = LabelRange(len(known), *((known.min(), known.max()) if len(known) else (0.0, 0.0)))
        return found

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The labels of all steps, one CoT after another, and the row of each: float64 with NaN where there
        is no label, int64."""
        given, rows = self._given_labels()
        return (self.rule.of_steps(given, rows) if self.rule.changes else given), rows

    def label_counts(self) -> LabelCounts:
        """What the table's rule did to the labels of its files."""
        return LabelCounts.of(self.rule, *self._given_labels())

    def _given_labels(self) -> tuple[np.ndarray, np.ndarray]:
        labels = self._column("labels").combine_chunks()
        values = pc.list_flatten(labels).to_numpy(zero_copy_only=False)  # NaN where there is no label
        return values, pc.list_parent_indices(labels).to_numpy()

    def step_counts(self) -> StepCounts:
        """How many steps its CoTs have."""
        return StepCounts.of(pc.list_value_length(self._column("steps")).to_numpy().tolist())

    def characters(self) -> np.ndarray:
        """For each row, the characters of its question and steps; int64."""
        steps = self._column("steps").combine_chunks()
        lengths = pc.utf8_length(pc.list_flatten(steps)).to_numpy(zero_copy_only=False)
        rows = pc.list_parent_indices(steps).to_numpy()
        of_steps = np.bincount(rows, weights=lengths, minlength=len(self)).astype(np.int64)
        questions = pc.utf8_length(self._column("question")).to_numpy().astype(np.int64)
        return of_steps + questions

    def image_counts(self) -> np.ndarray:
        """For each row, how many images it names; int64."""
        return pc.list_value_length(self._column("images")).to_numpy().astype(np.int64)

    def _column(self, name: str) -> pa.ChunkedArray:
        column = self._data.data.table.column(name)
        return column if self._kept is None else column.take(pa.array(self._kept))

    def __reduce__(self) -> tuple[type[RecordTable[Any]], tuple[list[Path], np.ndarray | None, LabelRule]]:
        return RecordTable, (self._folders, self._kept, self.rule)


def _key(path: Path, kind: str, settings: dict[str, Any], digests: FileDigests) -> str:
    """The key of the stored copy: a hash of everything that determines its content."""
    others = {name: str(value) for name, value in settings.items() if name != "image_root"}
    # As `ImagePolicy.resolve` has it: not of the file that a link leads to.
    root = os.path.abspath(settings.get("image_root") or path.parent)
    return content_key([_FORM, kind, path.name, root, digests.of(path), others])[:16]


def _stored_report(folder: Path) -> ReadReport:
    return ReadReport(**json.loads((folder / _REPORT).read_text(encoding="utf-8"))["report"])


def _is_complete(folder: Path) -> bool:
    """Whether there is a copy of the whole file, with nothing left out, and no byte of it has changed."""
    stored = _stored(folder)
    if stored is None:
        return False
    report = ReadReport(**stored["report"])
    return not (report.bad or report.text_only)


def _stored(folder: Path) -> dict[str, Any] | None:
    """What is stored of the copy in a folder; None where there is no whole one."""
    try:
        stored = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        ReadReport(**stored["report"])
        whole = stored["table"] == FileDigests().found(folder / _TABLE)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return stored if whole else None


def _build(folder: Path, path: Path, form: ArrowForm, settings: dict[str, Any], digests: FileDigests) -> None:
    """Read the file into the folder, which appears only once it is complete."""
    report = ReadReport()
    records = form.read(path, **settings, report=report)
    try:
        with atomic_folder(folder) as partial:
            sink = pa.OSFile(str(partial / _TABLE), "wb")
            with sink, pa.ipc.new_stream(sink, form.schema) as writer:
                while batch := list(itertools.islice(records, _BATCH_ROWS)):
                    writer.write_batch(form.batch(batch))
            digests.of(path)  # raises if it has changed meanwhile: the copy is keyed by what it held before
            stored = {"table": FileDigests().of(partial / _TABLE), "report": report.to_json()}
            text = json.dumps(stored)
            if json.loads(text) == _stored(folder):
                raise _SameCopy  # which others may be reading
            (partial / _REPORT).write_text(text, encoding="utf-8")
    except _SameCopy:
        pass
    except FileExistsError:
        # A process of an earlier version has finished the same copy; anything else there is an error.
        if not (folder / _TABLE).is_file():
            raise


class _SameCopy(Exception):
    """What is there holds just what was read again, something having been left out of it."""


def _memory_mapped(paths: Sequence[Path]) -> tuple[list[int], Any]:
    """The lengths of the files, and all of them as one memory-mapped `datasets.Dataset`."""
    import datasets  # imported here, because that takes longer than reading most files

    parts = [datasets.Dataset.from_file(str(path)) for path in paths]
    return list(map(len, parts)), parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)


def _rows_by_domain(column: pa.ChunkedArray) -> dict[str, np.ndarray]:
    """Row numbers by domain, from the dictionary-encoded column, without comparing strings in Python."""
    encoded = column.dictionary_encode().combine_chunks()
    codes, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    return {name: order[bounds[k] : bounds[k + 1]] for k, name in enumerate(names)}
