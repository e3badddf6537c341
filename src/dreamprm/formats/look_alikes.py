"""Which formats a file's fields look like, for the error about a file that does not fit the chosen one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from pathlib import Path

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import stream_members
from dreamprm.formats.format import Format
from dreamprm.formats.json_rows import is_object, json_rows
from dreamprm.formats.table_files import SEPARATORS, read_table

_ROWS_SEEN = 3  # the first row of a file may be a bad one
_NEAR = 0.6  # the share of a format's fields that a file must have to come near it


def look_alikes(fields: Set[str], formats: Mapping[str, Format]) -> dict[str, tuple[str, ...]]:
    """The formats that a row with these fields looks like, each with the fields it lacks.

    A format is described by the fields that tell its rows from others (`Reader.signature`). Formats whose
    fields are all there come alone; without any, those that the row has most of the fields of, at least
    three fifths.

    Args:
        fields: the names of a row's fields.
        formats: the registry.
    """
    signatures = [(name, set(one)) for name, form in formats.items() for one in form.reader.signature]
    best = max((len(one & fields) / len(one) for _, one in signatures), default=0.0)
    if best < _NEAR:
        return {}
    kept = [(name, one) for name, one in signatures if len(one & fields) / len(one) == best]
    # A row with the fields of one format and more is a row of the format that has these too.
    kept = [(name, one) for name, one in kept if not any(one < other for _, other in kept)]
    return {name: tuple(sorted(one - fields)) for name, one in kept}


def first_fields(path: Path) -> set[str]:
    """The names of the fields of a file's first rows; empty if it has no rows that can be read.

    Of an object of named rows, or of lists of rows, those of its first rows.
    """
    names: set[str] = set()
    try:
        for row in itertools.islice(_rows(path), _ROWS_SEEN):
            if isinstance(row, Fields):
                names |= row.values.keys()
    except (UserError, OSError):
        return names
    return names


def hint(path: Path, formats: Mapping[str, Format], *, chosen: str | None = None) -> str:
    """What to add to an error about a file: the formats that its fields look like; "" if there are none.

    Args:
        path: the file.
        formats: the registry.
        chosen: the format that it was read as; "" is returned if the file looks like that one.
    """
    near = look_alikes(first_fields(path), formats)
    if not near or chosen in near:
        return ""
    exact = [name for name, lacking in near.items() if not lacking]
    if exact:
        choice = " or ".join(f"format={name}" for name in exact)
        return f"; its fields look like {' or '.join(exact)}: {choice}"
    parts = [f"{name} (without {_listed(lacking)}: format={name})" for name, lacking in near.items()]
    return f"; its fields come nearest to {' and '.join(parts)}"


def with_hint(error: DataError, path: Path, formats: Mapping[str, Format], chosen: str) -> DataError:
    """The error, with the formats that the file looks like instead of the chosen one."""
    return DataError(f"{error}{hint(path, formats, chosen=chosen) if path.is_file() else ''}")


def conversion(path: Path, formats: Mapping[str, Format]) -> str:
    """What to add to an error of a command that reads our own form; "" if the file looks like no other.

    Only formats whose fields are all there are named, since a file of our own may lack a field too.
    """
    near = look_alikes(first_fields(path), formats)
    exact = [name for name, lacking in near.items() if not lacking]
    if not exact:
        return ""
    return (
        f"; its fields look like {' or '.join(exact)}: convert it first"
        f" (dreamprm convert format={exact[0]} source={path} destination=OWN.jsonl)"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _rows(path: Path) -> Iterable[Fields | DataError]:
    if is_object(path):
        values = []
        with suppress(DataError):  # more than one object
            for _, member in itertools.islice(stream_members(path), _ROWS_SEEN):
                values.append(member.value)
        rows = [value[0] if isinstance(value, list) and value else value for value in values]
        if any(isinstance(row, dict) for row in rows):  # else the object is itself a row of JSON Lines
            return [Fields(row, path, line=1) for row in rows if isinstance(row, dict)]
    if path.is_dir() or path.suffix.lower() in (*SEPARATORS, ".xlsx", ".parquet", ".arrow"):
        return read_table(path)
    return json_rows(path)
