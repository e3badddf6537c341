"""Files of records: written atomically, and read as memory-mapped tables with fast random access."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamprm.config.errors import UserError
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.records import Candidate, CandidateRecord, MetaRecord, Record, StepRecord, to_json
from dreamprm.files.atomic import atomic_folder, make_folder, remove_ended, write_lines_atomically
from dreamprm.files.content import FileDigests, content_key
from dreamprm.files.disk_errors import require_folder
from dreamprm.responses import StepCounts

R = TypeVar("R", StepRecord, MetaRecord, CandidateRecord)
Kind = Literal["step", "meta", "candidate"]

_FORM = 4  # part of the cache key: raise it when the stored form or what the readers return changes
_BATCH_ROWS = 1000
_TABLE, _REPORT = "records.arrow", "report.json"


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records in the package's own form, one JSON object per line.

    The file is written completely or not at all.

    Args:
        path: the file; its folder is created if missing, and an older file of that name is replaced.
        records: records of any kind.

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
    return count


class RecordTable(Generic[R]):
    """Records of one or several files, memory-mapped: `table[i]`, `table.get(indices)`, `len(table)`.

    The first `open` of a file validates it and stores it as Arrow under `cache_dir`; later calls, and loader
    workers, map that copy, so a file of any size takes no memory and opens at once. A table is pickled as the
    paths of its copies.

    Attributes:
        reports: for each file, what was left out when it was read.
        domains: row numbers by domain (int64, in file order), with domains in order of first appearance;
            empty for records that have no domain.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Map existing copies; use `open` to create them."""
        self._folders = [Path(folder) for folder in folders]
        self.reports = [_stored_report(folder) for folder in self._folders]
        self._data = _memory_mapped([folder / _TABLE for folder in self._folders])
        columns = self._data.column_names
        self._form = next(form for form in FORMS.values() if form.schema.names == columns)
        self.domains: dict[str, np.ndarray] = _rows_by_domain(self._data) if "domain" in columns else {}

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
        checked only when the copy is made.

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
            remove_ended(cache_dir)
            _build(folder, path, FORMS[kind], settings, digests)
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

    def image_paths(self) -> list[str]:
        """The paths of all images, each once, in order of first appearance."""
        paths: list[str] = pc.unique(pc.list_flatten(self._data.data.table.column("images"))).to_pylist()
        return paths

    def step_counts(self) -> StepCounts:
        """How many steps its CoTs have."""
        lengths = pc.list_value_length(self._data.data.table.column("steps"))
        return StepCounts.of(lengths.to_numpy().tolist())

    def __reduce__(self) -> tuple[type[RecordTable[Any]], tuple[list[Path]]]:
        return RecordTable, (self._folders,)


def _key(path: Path, kind: str, settings: dict[str, Any], digests: FileDigests) -> str:
    """The key of the stored copy: a hash of everything that determines its content."""
    others = {name: str(value) for name, value in settings.items() if name != "image_root"}
    # As `ImagePolicy.resolve` has it: not of the file that a link leads to.
    root = os.path.abspath(settings.get("image_root") or path.parent)
    return content_key([_FORM, kind, path.name, root, digests.of(path), others])[:16]


def _stored_report(folder: Path) -> ReadReport:
    return ReadReport(**json.loads((folder / _REPORT).read_text(encoding="utf-8")))


def _is_complete(folder: Path) -> bool:
    """Whether there is a copy of the whole file, with nothing left out."""
    if not (folder / _TABLE).is_file():
        return False
    report = _stored_report(folder)
    return not (report.bad or report.text_only)


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
            (partial / _REPORT).write_text(json.dumps(report.to_json()), encoding="utf-8")
    except FileExistsError:
        # Another process finished the same copy first; anything else at that place is an error.
        if not (folder / _TABLE).is_file():
            raise


def _memory_mapped(paths: Sequence[Path]) -> Any:
    """The files as one memory-mapped `datasets.Dataset`."""
    import datasets  # imported here, because that takes longer than reading most files

    parts = [datasets.Dataset.from_file(str(path)) for path in paths]
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)


def _rows_by_domain(data: Any) -> dict[str, np.ndarray]:
    """Row numbers by domain, from the dictionary-encoded column, without comparing strings in Python."""
    encoded = data.data.table.column("domain").dictionary_encode().combine_chunks()
    codes, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    return {name: order[bounds[k] : bounds[k + 1]] for k, name in enumerate(names)}


@dataclass(frozen=True)
class ArrowForm:
    """One kind of record: its reader, its columns (the record's attributes), and how a row is decoded."""

    read: Callable[..., Iterator[Any]]
    schema: pa.Schema
    decode: Callable[..., Any]

    def batch(self, records: Sequence[Any]) -> pa.RecordBatch:
        """The records as one batch of columns."""
        columns = [
            pa.array([_plain(getattr(record, column.name)) for record in records], column.type)
            for column in self.schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def records(self, columns: dict[str, list[Any]]) -> list[Any]:
        """The records of decoded columns; the inverse of `batch`."""
        return [self.decode(*row) for row in zip(*(columns[name] for name in self.schema.names), strict=True)]


def _plain(value: Any) -> Any:
    """Candidates as dicts, which Arrow can store; everything else unchanged."""
    if isinstance(value, tuple) and value and isinstance(value[0], Candidate):
        return [
            {name: getattr(one, name) for name in _CANDIDATE.names}
            | {"scores": [{"scorer": scorer, "log_odds": values} for scorer, values in one.scores.items()]}
            for one in value
        ]
    return value


def _step(
    question: str,
    images: Iterable[str],
    domain: str,
    steps: Iterable[str],
    labels: Iterable[float | None],
    rollouts: Iterable[int | None],
    id: str,
) -> StepRecord:
    return StepRecord(question, tuple(images), domain, tuple(steps), tuple(labels), tuple(rollouts), id)


def _meta(question: str, images: Iterable[str], steps: Iterable[str], correct: bool, id: str) -> MetaRecord:
    return MetaRecord(question, tuple(images), tuple(steps), correct, id)


def _candidate(
    question: str,
    images: Iterable[str],
    benchmark: str,
    answer: str,
    candidates: Iterable[dict[str, Any]],
    id: str,
) -> CandidateRecord:
    decoded = tuple(
        Candidate(
            **{
                **candidate,
                "steps": tuple(candidate["steps"]),
                "scores": {one["scorer"]: tuple(one["log_odds"]) for one in candidate["scores"]},
            }
        )
        for candidate in candidates
    )
    return CandidateRecord(question, tuple(images), benchmark, answer, decoded, id)


_TEXTS = pa.list_(pa.string())
_CANDIDATE = pa.schema(
    {
        "text": pa.string(),
        "steps": _TEXTS,
        "final_answer": pa.string(),
        "correct": pa.bool_(),
        "generator": pa.string(),
        "scores": pa.list_(pa.struct({"scorer": pa.string(), "log_odds": pa.list_(pa.float64())})),
        "credit": pa.float64(),
    }
)

FORMS: dict[str, ArrowForm] = {
    "step": ArrowForm(
        read_step_records,
        pa.schema(
            {
                "question": pa.string(),
                "images": _TEXTS,
                "domain": pa.string(),
                "steps": _TEXTS,
                "labels": pa.list_(pa.float64()),
                "rollouts": pa.list_(pa.int64()),
                "id": pa.string(),
            }
        ),
        _step,
    ),
    "meta": ArrowForm(
        read_meta_records,
        pa.schema(
            {
                "question": pa.string(),
                "images": _TEXTS,
                "steps": _TEXTS,
                "correct": pa.bool_(),
                "id": pa.string(),
            }
        ),
        _meta,
    ),
    "candidate": ArrowForm(
        read_candidate_records,
        pa.schema(
            {
                "question": pa.string(),
                "images": _TEXTS,
                "benchmark": pa.string(),
                "answer": pa.string(),
                "candidates": pa.list_(pa.struct(list(_CANDIDATE))),
                "id": pa.string(),
            }
        ),
        _candidate,
    ),
}
"""The kinds of records by name."""
