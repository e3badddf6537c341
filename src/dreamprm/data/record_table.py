"""Files of records: written whole or not at all, and read as memory-mapped tables with fast random access."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
import pyarrow as pa

from dreamprm.config.errors import UserError
from dreamprm.data.arrow_form import FORMS, ArrowForm
from dreamprm.data.read_report import ReadReport
from dreamprm.data.records import CandidateRecord, MetaRecord, Record, StepRecord, to_json
from dreamprm.files.atomic import atomic_folder, write_lines_atomically

R = TypeVar("R", StepRecord, MetaRecord, CandidateRecord)
Kind = Literal["step", "meta", "candidate"]

_FORM = 3  # part of the cache's key: raise it when the stored form or the readers' meaning changes
_BATCH_ROWS = 1000
_TABLE, _REPORT = "records.arrow", "report.json"


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records in the package's own form, one JSON object a line.

    The file appears whole or not at all.

    Args:
        path: the file; its folder is made where it is missing, an older file of that name is replaced.
        records: records of any kind.

    Returns:
        The number of records written.

    Raises:
        ValueError: a label is not a number JSON can hold (NaN, infinity).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for record in records:
            yield json.dumps(to_json(record), ensure_ascii=False, allow_nan=False) + "\n"
            count += 1

    write_lines_atomically(path, lines())
    return count


class RecordTable(Generic[R]):
    """Records of one or several files, memory-mapped: `table[i]`, `table.get(indices)`, `len(table)`.

    The first `open` of a file validates it and stores it as Arrow under `cache_dir`; later ones, and loader
    workers, map that copy, so that a file of any size takes no memory and starts at once. A table is pickled
    as the paths of its copies.

    Attributes:
        reports: of each file what its reading left out.
        domains: row numbers by domain, int64 in the files' order, domains in order of first appearance; empty
            for records that have no domain.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Map finished copies; use `open` to make them."""
        self._folders = [Path(folder) for folder in folders]
        self.reports = [_stored_report(folder) for folder in self._folders]
        self._data = _memory_mapped([folder / _TABLE for folder in self._folders])
        columns = self._data.column_names
        self._form = next(form for form in FORMS.values() if form.schema.names == columns)
        self.domains: dict[str, np.ndarray] = _rows_by_domain(self._data) if "domain" in columns else {}

    @overload
    @classmethod
    def open(
        cls, path: str | Path, *, kind: Literal["step"], cache_dir: str | Path, **settings: Any
    ) -> RecordTable[StepRecord]: ...

    @overload
    @classmethod
    def open(
        cls, path: str | Path, *, kind: Literal["meta"], cache_dir: str | Path, **settings: Any
    ) -> RecordTable[MetaRecord]: ...

    @overload
    @classmethod
    def open(
        cls, path: str | Path, *, kind: Literal["candidate"], cache_dir: str | Path, **settings: Any
    ) -> RecordTable[CandidateRecord]: ...

    @classmethod
    def open(
        cls, path: str | Path, *, kind: Kind, cache_dir: str | Path, **settings: Any
    ) -> RecordTable[Any]:
        """Open a file of records, reading and validating it only if that has not been done before.

        The stored copy belongs to the file's path, size and time of change and to the settings; a change of
        any of them makes a new one. A file from which something was left out is read anew every time, since
        images may have come meanwhile. Otherwise images are checked when the copy is made only.

        Args:
            path: a JSON array or a JSON Lines file.
            kind: what its records are: `step`, `meta` or `candidate`.
            cache_dir: the folder of the copies; may be shared by runs and processes.
            settings: those of the kind's reader (`read_step_records` etc.), except `report`.

        Returns:
            A table of the records; `table.reports[0]` says what was left out.

        Raises:
            UserError, DataError: those of the reader; UserError for an unknown kind. Nothing half-written
                stays behind.
        """
        if kind not in FORMS:
            raise UserError(f"kind must be one of {', '.join(FORMS)}; got {kind!r}")
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no such file: {path}; give the path of a JSON or JSON Lines file")
        folder = Path(cache_dir) / f"{path.stem}-{_key(path, kind, settings)}"
        if not _is_complete(folder):
            _build(folder, path, FORMS[kind], settings)
        return cls([folder])

    @classmethod
    def concatenate(cls, tables: Sequence[RecordTable[R]]) -> RecordTable[R]:
        """One table of the rows of several of the same kind, in their order.

        Raises:
            UserError: no table, or tables of different kinds.
        """
        kinds = {next(kind for kind, form in FORMS.items() if form is table._form) for table in tables}
        if len(kinds) != 1:
            raise UserError(f"only tables of one kind can be concatenated, got {sorted(kinds) or 'no table'}")
        return RecordTable([folder for table in tables for folder in table._folders])

    def __len__(self) -> int:
        return len(self._data)

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
        return self._form.records(self._data[(rows % max(len(self), 1)).tolist()])

    def __reduce__(self) -> tuple[type[RecordTable[Any]], tuple[list[Path]]]:
        return RecordTable, (self._folders,)


def _key(path: Path, kind: str, settings: dict[str, Any]) -> str:
    """Names the stored copy: everything that its content follows from."""
    stat = path.stat()
    known = [_FORM, kind, str(path.resolve()), stat.st_size, stat.st_mtime_ns, sorted(settings.items())]
    return hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()[:16]


def _stored_report(folder: Path) -> ReadReport:
    return ReadReport(**json.loads((folder / _REPORT).read_text(encoding="utf-8")))


def _is_complete(folder: Path) -> bool:
    """Whether there is a copy that holds the whole file."""
    if not (folder / _TABLE).is_file():
        return False
    report = _stored_report(folder)
    return not (report.bad or report.text_only)


def _build(folder: Path, path: Path, form: ArrowForm, settings: dict[str, Any]) -> None:
    """Read the file into the folder, which appears when it is whole."""
    report = ReadReport()
    records = form.read(path, **settings, report=report)
    try:
        with atomic_folder(folder) as partial:
            sink = pa.OSFile(str(partial / _TABLE), "wb")
            with sink, pa.ipc.new_stream(sink, form.schema) as writer:
                while batch := list(itertools.islice(records, _BATCH_ROWS)):
                    writer.write_batch(form.batch(batch))
            (partial / _REPORT).write_text(json.dumps(report.to_json()), encoding="utf-8")
    except FileExistsError:
        # Another process finished the same copy first; anything else that stands there is an error.
        if not (folder / _TABLE).is_file():
            raise


def _memory_mapped(paths: Sequence[Path]) -> Any:
    """The files as one memory-mapped `datasets.Dataset`."""
    import datasets  # here, because its import takes longer than reading most files

    parts = [datasets.Dataset.from_file(str(path)) for path in paths]
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)


def _rows_by_domain(data: Any) -> dict[str, np.ndarray]:
    """Row numbers by domain, from the dictionary-encoded column: no text is compared in Python."""
    encoded = data.data.table.column("domain").dictionary_encode().combine_chunks()
    codes, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    return {name: order[bounds[k] : bounds[k + 1]] for k, name in enumerate(names)}
