"""Converts other projects' data files to our own form and back; `FORMATS` lists the formats by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dreamprm.config.checking import require_name, require_settings
from dreamprm.config.errors import DataError, UserError
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.record_table import write_records
from dreamprm.data.records import Record
from dreamprm.files.atomic import atomic_path, make_folder, remove_ended
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.locks import owned_path
from dreamprm.formats.format import ConvertReport, Direction, Format
from dreamprm.formats.image_folder import images_from
from dreamprm.formats.look_alikes import with_hint
from dreamprm.formats.published_flags import FlagAgreement, compared
from dreamprm.formats.question_split import Part, check_shares, part_path, split_file
from dreamprm.formats.record_length import LengthLimit, TooLong
from dreamprm.formats.registry import FORMATS
from dreamprm.responses.step_counts import step_lines

__all__ = ["FORMATS", "Converted", "Format", "convert_file", "run_convert"]

_LOOKED_UP = ("mathv",)
"""Formats of records whose images are looked up, as those of questions are, and must be inside their folder.

Others copy paths as they are, relative to a folder that the converter does not know: whoever reads the
records names it (`data.image_root`), and checks them there.
"""

_OWN_READERS = {
    "step": read_step_records,
    "meta": read_meta_records,
    "candidate": read_candidate_records,
    "question": read_question_records,
}

_OTHER_ENDINGS = (".parquet", ".arrow", ".csv", ".tsv", ".xlsx")


@dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
        kind, records: the kind and number of records written.
        report: what was left out.
        flags: lines that say how often the right/wrong flags of the file agree with our verdicts.
        parts: the files of a split.
    """

    kind: str
    records: int
    report: ConvertReport = field(default_factory=ConvertReport, compare=False)
    flags: list[str] = field(default_factory=list, compare=False)
    parts: list[Part] = field(default_factory=list, compare=False)


class ConvertSettings(Protocol):
    """The part of the command's configuration that `run_convert` reads."""

    format: str
    source: str
    destination: str
    direction: Direction
    shares: dict[str, float]
    seed: int
    max_tokens: int | None
    tokenizer: str | None
    too_long: TooLong
    options: dict[str, Any]


def convert_file(
    format: str,
    source: str | Path,
    destination: str | Path,
    *,
    direction: Direction = "in",
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
    tokenizer: str | None = None,
    too_long: TooLong = "cut",
    **options: Any,
) -> Converted:
    """Convert another project's file to our own form, or one of ours to theirs.

    The destination appears whole or not at all. `in` reads the foreign format and writes our JSON Lines;
    image paths below the destination's folder are written relative to it, so that the two can be moved
    together. `out` reads our form and writes the foreign format; image paths are copied as they are, and no
    image is opened.

    Args:
        format: a name in `FORMATS`.
        source: the file to read; some formats take a folder.
        destination: the file to write; its folder is created if missing, and an existing file is replaced.
        direction: `in` or `out`.
        shares: by name, the share of the questions of each part that the destination is split into, in files
            next to it (`question_split`); None: no parts.
        seed: of the split.
        max_tokens, tokenizer, too_long: for step and meta records, how long they may be and what is done with
            longer ones (`LengthLimit`); None: any length.
        options: the format's own options (`FORMATS[format].options(direction)`). `image_folder`, if the
            format has it, defaults to a folder next to the destination, named after it.

    Returns:
        The kind and number of the records, and a report of what was left out.

    Raises:
        UserError: an unknown format or option (the message suggests the nearest known one), a direction that
            the format does not support, a missing source, a destination that is the source, or that another
            process is writing.
        DataError: a bad record (the message names file, line, field, value and what is allowed; where the
            file's fields look like those of other formats, also these), or nothing to write.
    """
    require_name("format", format, FORMATS)
    chosen = FORMATS[format]
    if direction not in ("in", "out"):
        raise UserError(f"direction must be 'in' or 'out', got {direction!r}")
    if direction == "out" and chosen.writer is None:
        writable = ", ".join(name for name, form in FORMATS.items() if form.writer is not None)
        raise UserError(
            f"format {format} can only be read (direction=in);"
            f" formats that can be written: {writable or 'none'}"
        )
    require_settings(f"format {format!r} (direction={direction})", options, chosen.options(direction))
    limit = _limit(chosen, direction, max_tokens, tokenizer, too_long)
    if shares and direction == "out":
        raise UserError("shares are for direction=in: split our own records, then write each part")
    if shares:
        check_shares(shares)
    source, destination = Path(source), Path(destination)
    if source.resolve() == destination.resolve():
        raise UserError(f"destination is the same file as source: {source}; choose another file to write")
    if destination.is_dir():
        raise UserError(f"destination is a folder: {destination}; give the path of a file to write")
    for name in shares or ():
        if (part := part_path(destination, name)).is_dir() or part.resolve() == source.resolve():
            raise UserError(f"shares: {part}, where {name} would be written, is the source or a folder")
    require_folder(destination.parent, "the folder of destination")
    with owned_path(destination):
        try:
            done = _converted(format, source, destination, direction, options, limit)
        except DataError as error:
            if direction == "out":
                raise
            raise with_hint(error, source, FORMATS, format) from error
        parts = split_file(destination, shares, seed=seed) if shares else []
        return dataclasses.replace(done, parts=parts)


def _limit(
    chosen: Format, direction: Direction, max_tokens: int | None, tokenizer: str | None, too_long: TooLong
) -> LengthLimit | None:
    """The limit of a record's length, checked against the kind of the records."""
    if max_tokens is None and tokenizer is None:
        return None
    if max_tokens is None or tokenizer is None:
        raise UserError("max_tokens and tokenizer belong together: give both, or neither")
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise UserError(f"max_tokens must be a whole number >= 1, got {max_tokens!r}")
    if direction == "out" or chosen.kind not in ("step", "meta"):
        raise UserError("max_tokens is for step and meta records that are read (direction=in)")
    if too_long not in ("cut", "skip"):
        raise UserError(f"too_long must be 'cut' or 'skip', got {too_long!r}")
    if chosen.kind == "meta" and too_long == "cut":
        raise UserError(
            "a meta record's verdict is on its whole chain, which cannot be cut: set too_long=skip"
        )
    return LengthLimit(tokenizer, max_tokens, too_long)


def _converted(
    format: str,
    source: Path,
    destination: Path,
    direction: Direction,
    options: dict[str, Any],
    limit: LengthLimit | None,
) -> Converted:
    chosen = FORMATS[format]
    remove_ended(destination.parent, re.compile(re.escape(destination.name)))
    if direction == "out":
        return _write_foreign(chosen, source, destination, options)
    if "image_folder" in chosen.options() and options.get("image_folder") is None:
        options["image_folder"] = destination.parent / f"{destination.stem}_images"
    if destination.suffix.lower() in _OTHER_ENDINGS:
        raise UserError(
            f"destination {destination} has the ending of another file type;"
            " the output is JSON Lines, use .jsonl"
        )
    report, flags = ConvertReport(), FlagAgreement()
    read: Iterator[Any] = chosen.read(source, report=report, **options)
    records: Iterator[Any] = _at_least_one(
        read if limit is None else limit.apply(read, report), source, report
    )
    if chosen.kind == "candidate":
        records = compared(records, flags)
    count = write_records(
        destination,
        (images_from(record, destination.parent) for record in records),
        images_checked=chosen.kind == "question" or format in _LOOKED_UP,
    )
    listed = flags.write(destination.with_name(f"{destination.stem}_disagreements.jsonl"))
    return Converted(chosen.kind, count, report, flags.lines() + ([] if listed is None else [listed]))


def run_convert(config: ConvertSettings) -> None:
    """The command `dreamprm convert`: convert one file and report what was written and what was left out."""
    done = convert_file(
        config.format,
        config.source,
        config.destination,
        direction=config.direction,
        shares=config.shares,
        seed=config.seed,
        max_tokens=config.max_tokens,
        tokenizer=config.tokenizer,
        too_long=config.too_long,
        **config.options,
    )
    print(f"wrote {done.records} {done.kind} records to {config.destination}")
    parts = [part.line() for part in done.parts]
    for line in [*done.report.lines(), *step_lines(done.report.steps), *done.flags, *parts]:
        print(line)


def _write_foreign(chosen: Format, source: Path, destination: Path, options: dict[str, Any]) -> Converted:
    count, report = 0, ConvertReport()

    def counted(records: Iterator[Record]) -> Iterator[Record]:
        nonlocal count
        for record in _at_least_one(records, source, report):
            count += 1
            yield record

    # Questions without images are accepted, and images need not exist on this machine: none is opened.
    read: Any = _OWN_READERS[chosen.kind]
    records = read(source, allow_no_image=True, missing_image="keep")
    make_folder(destination.parent)
    with atomic_path(destination) as partial:
        chosen.write(counted(records), partial, report=report, **options)
        written = count - sum(report.not_chosen.values())
        if not written:
            raise DataError(f"{source}: no records left to write; {'; '.join(report.not_chosen)}")
    return Converted(chosen.kind, written, report)


def _at_least_one(records: Iterator[Record], source: Path, report: ConvertReport) -> Iterator[Record]:
    empty = True
    for record in records:
        empty = False
        yield record
    if empty:
        why = "; ".join(report.lines()) or "check the file and the format's options"
        raise DataError(f"{source}: no records left to write; {why}")
