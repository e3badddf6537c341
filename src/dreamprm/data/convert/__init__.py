"""Other projects' data files turned into our own form: one file a format, found by name in `FORMATS`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dreamprm.data.convert import dreamprm15, processbench
from dreamprm.data.files import write_records
from dreamprm.data.records import Record
from dreamprm.errors import DataError, UserError


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Attributes:
        kind: what its records become: `step` or `meta`.
        convert: reads a file, yields records; its keyword arguments are the format's options.
        help: one line for `--help`.
    """

    kind: str
    convert: Callable[..., Iterator[Record]]
    help: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the format's options."""
        return tuple(inspect.signature(self.convert).parameters)[1:]


FORMATS: dict[str, Format] = {
    "processbench": Format("step", processbench.convert, processbench.HELP),
    "dreamprm15": Format("meta", dreamprm15.convert, dreamprm15.HELP),
}
"""The formats by name; a new one is one file and one line here."""


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote."""

    kind: str
    records: int


class ConvertSettings(Protocol):
    """What `run_convert` reads of the command's configuration."""

    format: str
    source: str
    destination: str
    options: dict[str, Any]


def convert_file(format: str, source: str | Path, destination: str | Path, **options: Any) -> Converted:
    """Read a file of another project and write its records in our own form, whole or not at all.

    Args:
        format: a name in `FORMATS`.
        source: the file to read, as its authors publish it.
        destination: the JSON Lines file to write; an older one is replaced.
        options: the format's own (`FORMATS[format].options`).

    Returns:
        The kind of the records and their number.

    Raises:
        UserError: an unknown format or option (with the nearest known one), no such source, or a destination
            that is the source.
        DataError: a bad record, naming file, line, field, value and what is allowed; or nothing to write.
    """
    chosen = FORMATS[_known(format, FORMATS, "format")]
    for option in options:
        _known(option, dict.fromkeys(chosen.options), f"option of format {format}")
    if Path(source).resolve() == Path(destination).resolve():
        raise UserError(f"destination is the source: {source}; name another file to write")
    records = _at_least_one(chosen.convert(source, **options), source)
    return Converted(chosen.kind, write_records(destination, records))


def run_convert(config: ConvertSettings) -> None:
    """The command `dreamprm convert`: convert one file and say what was written."""
    done = convert_file(config.format, config.source, config.destination, **config.options)
    print(f"wrote {done.records} {done.kind} records to {config.destination}")


def _at_least_one(records: Iterator[Record], source: str | Path) -> Iterator[Record]:
    count = 0
    for count, record in enumerate(records, start=1):
        yield record
    if not count:
        raise DataError(f"{source}: no record is left to write; check the file and the format's options")


def _known(name: str, known: Mapping[str, Any], what: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    raise UserError(f"unknown {what}: {name!r}; {hint}")
