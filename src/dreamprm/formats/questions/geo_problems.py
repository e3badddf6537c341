"""What GeoQA, GeoQA+ and UniGeo have in common: pickled lists of problems with their diagrams inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import Row
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.choices import answer_text, checked_options, letter_at
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import as_fields
from dreamprm.formats.option_checks import optional_name
from dreamprm.formats.questions.layout import SplitLayout
from dreamprm.formats.questions.plain_pickle import load_plain_pickle

PICKLES = (".pk", ".pkl", ".pickle")


@dataclass(frozen=True)
class GeoProblems(SplitLayout):
    """A pickled list of problems (plain data only, see `load_plain_pickle`), or a table with the same fields.

    A problem has `id`, the question in one of several languages, `choices`, `choice_nums`, `label` (the right
    one's index) and `image` or `img`. The options are the texts in `choices`, or else the numbers in
    `choice_nums`. The diagram is an array of pixels, written to `image_folder` as a PNG file, or what
    `ImageFolder.take` reads.

    Attributes:
        text: the field with the question.
        split: of a folder with several splits, which.
    """

    text: str = "subject"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text is None:
            raise UserError("text must name the field with the question; got null")
        optional_name("text", self.text)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row a problem."""
        if path.suffix.lower() not in PICKLES:
            yield from super().rows(path)
            return
        problems = load_plain_pickle(path)
        if not isinstance(problems, list | tuple):
            raise DataError(f"{path}: holds {type(problems).__name__}; allowed: a list of problems")
        yield from as_fields((Row(index, value) for index, value in enumerate(problems, start=1)), path)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one problem."""
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
            question=row.text(self.text).strip(),
            images=(images.embed_pixels(row, name),) if has_pixels else images.take(row, name),
            answer=letter_at(named, "label", options),
            options=options,
            domain=self.name,
            answer_type="choice",
            precision=None,
            unit=None,
            id=f"{self.prefix}-{answer_text(named, 'id')}",
        )


def _plain(value: Any) -> Any:
    """A numpy number as Python's; anything else as it is."""
    return value.item() if hasattr(value, "dtype") and value.ndim == 0 else value
