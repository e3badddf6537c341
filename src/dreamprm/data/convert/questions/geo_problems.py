"""What GeoQA, GeoQA+ and UniGeo have in common: pickled lists of problems with their diagrams inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamprm.data.convert.choices import answer_text, checked_options, letter_at
from dreamprm.data.convert.image_folder import ImageFolder
from dreamprm.data.convert.plain_pickle import load_plain_pickle
from dreamprm.data.convert.tables import as_fields, read_table
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import Row
from dreamprm.data.records import QuestionRecord
from dreamprm.errors import DataError

PICKLES = (".pk", ".pkl", ".pickle")


def geo_rows(path: Path, *, split: str | None) -> Iterator[Fields | DataError]:
    """One row a problem, of a pickled list (plain data only) or of a table with the same fields."""
    if path.suffix.lower() not in PICKLES:
        yield from read_table(path, split=split)
        return
    problems = load_plain_pickle(path)
    if not isinstance(problems, list | tuple):
        raise DataError(f"{path}: holds {type(problems).__name__}; allowed: a list of problems")
    yield from as_fields((Row(index, value) for index, value in enumerate(problems, start=1)), path)


def geo_record(row: Fields, images: ImageFolder, *, text: str, domain: str, prefix: str) -> QuestionRecord:
    """The question of one problem.

    The options are the texts in `choices`, or else the numbers in `choice_nums`; `label` is the right one's
    index. The diagram is an array of pixels, or what `ImageFolder.take` reads.

    Args:
        row: the problem.
        images: where its diagram goes.
        text: the field with the question.
        domain: its domain.
        prefix: what its id starts with.
    """
    field = "choices" if "choices" in row else "choice_nums"
    values = row.require(field, "a list of options")
    if not isinstance(values, list | tuple):
        raise row.error(field, "a list of options")
    options = checked_options(row, field, [_plain(value) for value in values])
    plain = {name: _plain(row.values.get(name)) for name in ("id", "label")}
    named = Fields(plain, row.path, line=row.line)
    name = "image" if "image" in row else "img"
    has_pixels = hasattr(row.values.get(name), "dtype")
    return QuestionRecord(
        question=row.text(text).strip(),
        images=(images.embed_pixels(row, name),) if has_pixels else images.take(row, name),
        answer=letter_at(named, "label", options),
        options=options,
        domain=domain,
        answer_type="choice",
        precision=None,
        unit=None,
        id=f"{prefix}-{answer_text(named, 'id')}",
    )


def _plain(value: Any) -> Any:
    """A numpy number as Python's; anything else as it is."""
    return value.item() if hasattr(value, "dtype") and value.ndim == 0 else value
