"""Rows of local tables: JSON, CSV, TSV, Excel, parquet, arrow, and saved datasets, one row at a time."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import MAX_VALUE_CHARACTERS, not_utf8
from dreamprm.files.json_values import unusable
from dreamprm.formats.json_rows import json_rows, raise_errors

SEPARATORS = {".tsv": "\t", ".csv": ","}
"""Cell separators by file ending."""

_BATCH_ROWS = 64  # a row of a hub table may hold megabytes of images
_SHARD = re.compile(r"(?P<split>.+?)(-\d{5}-of-\d{5}.*)?")


def read_table(path: str | Path, *, split: str | None = None) -> Iterator[Fields | DataError]:
    """Read a local table row by row, in bounded memory.

    JSON (an array, or one object per line), CSV and TSV are read as text, so rows may differ in their fields
    and "1.50" stays as it is written; an empty cell of a CSV or TSV file counts as null. Only the first sheet
    of an .xlsx file is read. Parquet files are read in batches; arrow files and datasets saved with
    `save_to_disk` are memory-mapped by `datasets`. Images stay undecoded.

    Args:
        path: a file, recognised by its ending (.json .jsonl .ndjson .csv .tsv .xlsx .parquet .arrow), a
            folder written by `save_to_disk`, or a folder of parquet files as published on the hub
            (`train-00000-of-00004.parquet`, also in subfolders, or `train/0000.parquet`, ... as the hub's own
            converter names them).
        split: which split of a folder that holds several.

    Yields:
        Rows with their file and line number (for binary files and datasets the row's number, from 1). A row
        that cannot be read is yielded as an error.

    Raises:
        UserError: no such file, an unknown ending, an unknown split, several splits with none chosen, or an
            .xlsx file without openpyxl installed.
        DataError: the file is broken.
    """
    path = Path(path)
    if path.is_dir():
        yield from usable_rows(_folder_rows(path, split), typed=True)
        return
    if split is not None:
        raise UserError(f"split={split} chooses among the splits of a folder, but {path} is one file")
    if not path.is_file():
        raise UserError(f"no such file: {path}; give the path of a table")
    kind = path.suffix.lower()
    if kind not in _READERS:
        raise UserError(f"{path}: unknown ending {kind!r}; allowed: {', '.join(_READERS)}, or a folder")
    yield from usable_rows(_READERS[kind](path), typed=kind in _TYPED)


def read_any(path: str | Path, *, split: str | None = None) -> Iterator[Fields | DataError]:
    """The rows of a table, or of a JSON file with any ending (see `read_table`)."""
    path = Path(path)
    is_table = path.is_dir() or path.suffix.lower() in _READERS and path.suffix.lower() not in _JSON
    return read_table(path, split=split) if is_table or split is not None else json_rows(path)


def read_cells(path: str | Path) -> Iterator[Fields]:
    """Read a table of cells; an empty cell (in JSON also NaN) is null, and a bad row is an error.

    Texts stay as they are: "None", "NA" and "1.50" are neither missing values nor numbers.

    Args:
        path: a file that ends in .xlsx (its first sheet), .tsv, .csv or .json.

    Raises:
        UserError: no such file, another ending, or an .xlsx file without openpyxl installed.
        DataError: the file's content does not match its ending, or a row has more or fewer cells than there
            are columns.
    """
    yield from raise_errors(cell_rows(path))


def cell_rows(path: str | Path) -> Iterator[Fields | DataError]:
    """The rows of `read_cells`; one that cannot be read is yielded as an error, and others follow."""
    path = Path(path)
    read = by_ending(path, {ending: _READERS[ending] for ending in (".xlsx", ".tsv", ".csv", ".json")})
    if not path.is_file():
        raise UserError(f"no such file: {path}; give the path of a table")
    for fields in usable_rows(read(path)):
        if isinstance(fields, Fields):
            values = {name: None if _is_missing(value) else value for name, value in fields.values.items()}
            fields = fields.with_values(values)
        yield fields


def cell_text(fields: Fields, name: str) -> str | None:
    """A cell's text (a number is written without a needless ".0"); None if the cell is empty."""
    value = fields.values.get(name)
    if value is None or isinstance(value, str):
        return value if value is None or value.strip() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fields.error(name, "a text or a number")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def by_ending(path: Path, functions: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The function for a file's ending.

    Raises:
        UserError: there is none.
    """
    if path.suffix.lower() not in functions:
        # The name is not shown, since a file being written has a temporary one.
        raise UserError(f"unknown file ending of a table: {path.suffix!r}; allowed: {', '.join(functions)}")
    return functions[path.suffix.lower()]


def openpyxl() -> Any:
    """The library that reads and writes .xlsx files.

    Raises:
        UserError: it is not installed.
    """
    try:
        import openpyxl  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            ".xlsx files need openpyxl: pip install 'dreamprm[xlsx]', or use .tsv, .csv or .json"
        ) from error
    return openpyxl


def usable_rows(rows: Iterable[Fields | DataError], *, typed: bool = False) -> Iterator[Fields | DataError]:
    """The rows, with an error in place of each that holds what the rest of the package cannot."""
    for row in rows:
        if isinstance(row, Fields) and (problem := unusable(row.values, typed=typed)) is not None:
            yield DataError(f"{row.where}: {problem}")
        else:
            yield row


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _csv_rows(path: Path) -> Iterator[Fields | DataError]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=SEPARATORS[path.suffix.lower()], strict=True)
        try:
            rows = _long_cells(reader)
            names = next(rows, None)
            if not names:
                raise DataError(f"{path}:1: no column names; the first line must hold them")
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DataError(f"{path}:1: column names must be unique; repeated: {', '.join(twice)}")
            line = reader.line_num + 1
            for cells in rows:
                if len(cells) == len(names):
                    values = {name: cell or None for name, cell in zip(names, cells, strict=True)}
                    yield Fields(values, path, line=line)
                elif cells:  # an empty line is not a row
                    yield DataError(f"{path}:{line}: got {len(cells)} cells for {len(names)} columns")
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: broken table: {error}") from error
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from error


def _long_cells(reader: Any) -> Iterator[list[str]]:
    """The rows of a csv reader; by default the csv module rejects cells as long as an encoded image."""
    while True:
        before = csv.field_size_limit(MAX_VALUE_CHARACTERS)
        try:
            cells = next(reader, None)
        finally:
            csv.field_size_limit(before)
        if cells is None:
            return
        yield cells


def _xlsx_rows(path: Path) -> Iterator[Fields | DataError]:
    yield from _of_a_library(_sheet_rows(openpyxl(), path), path, ".xlsx")


def _sheet_rows(library: Any, path: Path) -> Iterator[Fields]:
    with path.open("rb") as file:  # which the library leaves open where it fails
        book = library.load_workbook(file, read_only=True, data_only=True)
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = [None if name is None else str(name) for name in next(rows, ())]
        for line, cells in enumerate(rows, start=2):
            if any(cell is not None for cell in cells):
                # Rows stop at their last non-empty cell.
                row = dict(itertools.zip_longest(names, cells[: len(names)]))
                yield Fields({name: value for name, value in row.items() if name}, path, line=line)
        book.close()


def _of_a_library(rows: Iterable[Fields], path: Path, what: str) -> Iterator[Fields]:
    """Rows that a library reads; whatever it raises on damaged or foreign bytes is one error.

    Raises:
        DataError: naming the file and the library's reason.
    """
    try:
        yield from rows
    except UserError:
        raise
    except Exception as error:  # zip, XML, key, decoding and Arrow's own errors alike
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: cannot be read as {what}: {reason}") from error


def _parquet_rows(path: Path) -> Iterator[Fields | DataError]:
    yield from _of_a_library(_parquet_batches(path), path, "parquet")


def _parquet_batches(path: Path) -> Iterator[Fields]:
    import pyarrow.parquet

    # `datasets` is avoided here: its streams leave a thread behind if reading stops early, which sometimes
    # aborts the process at exit, after all work is done.
    with pyarrow.parquet.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)
        rows = (values for batch in batches for values in batch.to_pylist())
        for line, values in enumerate(rows, start=1):
            yield Fields(values, path, line=line)


def _arrow_rows(path: Path) -> Iterator[Fields | DataError]:
    def rows() -> Iterator[Fields]:
        import datasets

        yield from _arrow_batches(datasets.Dataset.from_file(str(path)), path)

    yield from _of_a_library(rows(), path, "an arrow stream")


def _arrow_batches(data: Any, path: Path) -> Iterator[Fields]:
    """The rows of a `datasets` object as stored; its arrow format leaves images undecoded."""
    line = 0
    for table in data.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        for values in table.to_pylist():
            line += 1
            yield Fields(values, path, line=line)


def _folder_rows(path: Path, split: str | None) -> Iterator[Fields | DataError]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        yield from _of_a_library(_saved_rows(path, split), path, "a saved dataset")
        return
    shards: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*.parquet")):
        matched = _SHARD.fullmatch(file.stem)
        assert matched is not None  # the pattern matches any name
        name = file.parent.name if file.stem.isdecimal() else matched["split"]
        shards.setdefault(name, []).append(file)
    if not shards:
        raise UserError(f"{path} holds neither a saved dataset nor parquet files; give a folder that does")
    for file in shards[_chosen_split(path, list(shards), split)]:
        yield from _parquet_rows(file)


def _saved_rows(path: Path, split: str | None) -> Iterator[Fields]:
    import datasets

    data = datasets.load_from_disk(str(path))
    if isinstance(data, datasets.DatasetDict):
        name = _chosen_split(path, list(data), split)
        yield from _arrow_batches(data[name], path / name)
    elif split is not None:
        raise UserError(f"split={split}: {path} is a single saved dataset without splits; leave out split")
    else:
        yield from _arrow_batches(data, path)


def _chosen_split(path: Path, splits: list[str], wanted: str | None) -> str:
    if wanted in splits:
        return str(wanted)
    if wanted is None and len(splits) == 1:
        return splits[0]
    what = f"split={wanted} is not among" if wanted is not None else "set split to one of"
    raise UserError(f"{path}: {what} its splits: {', '.join(splits)}")


_READERS: dict[str, Callable[[Path], Iterator[Fields | DataError]]] = {
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".xlsx": _xlsx_rows,
    ".parquet": _parquet_rows,
    ".arrow": _arrow_rows,
}
_TYPED = (".parquet", ".arrow")
_JSON = (".json", ".jsonl", ".ndjson")
