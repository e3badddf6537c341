"""Questions from any local table, by a map from our fields to the table's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.question_reader import PRECISION, is_precision
from dreamprm.data.records import ANSWER_TYPES, QuestionRecord
from dreamprm.formats.answer_fields import answer_text, checked_options, letter_at, letter_of, option_texts
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import member_rows
from dreamprm.formats.questions.layout import QuestionLayout
from dreamprm.formats.table_files import read_table

Names = str | list[str]

_SINGLE = ("question", "answer", "id", "domain_field", "answer_type", "unit", "precision")
"""The options that name one field."""


@dataclass(frozen=True)
class FieldMap(QuestionLayout):
    """Maps the parts of a question to fields of a table.

    Every option except `answer_index`, `where`, `split` and `member` names a field; a dot reaches into an
    object (`metadata.subject`). A row without options is an open question. An image is a path, the bytes of
    an image file, `{"bytes", "path"}`, or a list of these.
    """

    name = "table"
    prefix = "table"
    help = "any local table (JSON, CSV, TSV, Excel, parquet, arrow, saved dataset), by a map of its fields"
    signature = ()  # its fields are whatever the map names

    question: str = setting("question", "the field with the question's text")
    answer: str = setting("answer", "the field with the answer; see answer_index")
    options: Any = setting(
        None,
        "a field with a list of options (or a text with a JSON or Python list), or a list of fields with one"
        " option each, the last of which may be empty; null: all questions are open",
    )
    answer_index: int | None = setting(
        None,
        "how the answer of a question with options names the right one: null, by its text or letter;"
        " 0 or 1, by its number, counted from that",
        minimum=0,
        maximum=1,
    )
    image: Any = setting(None, "one or several fields with images, in order; null: questions have no images")
    id: str | None = setting(
        None,
        "a field with a unique text or whole number; null: the source's name and the row's number",
    )
    domain_field: str | None = setting(
        None,
        "the field with the domain; null: the source's name without its ending, unless `domain` is given",
    )
    answer_type: str | None = setting(None, f"a field with one of {', '.join(ANSWER_TYPES)}")
    unit: str | None = setting(None, "a field with the unit")
    precision: str | None = setting(None, "a field with the number of decimals")
    where: dict[str, Any] | None = setting(
        None,
        "keep only rows whose fields have these values: {split: test, grade: [7, 8]}; values are compared as"
        " texts, and null matches a field that is absent or null",
    )
    split: str | None = setting(None, "which split of a folder with several splits")
    member: str | None = setting(
        None, "for a JSON file that holds one object, the member that is the array of rows"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("options", "image"):
            value = getattr(self, name)
            if isinstance(value, list) and not value:
                raise UserError(f"{name} must name at least one field; write null for none")
            for part in value if isinstance(value, list) else [value]:
                if part is not None and not (isinstance(part, str) and part.strip()):
                    raise UserError(f"{name} must be a non-empty text or null, got {part!r}")
        if self.answer_index is not None and self.options is None:
            raise UserError("answer_index needs options, since it says how an answer names one of them")

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table."""
        if self.member is None:
            return read_table(path, split=self.split)
        if self.split is not None:
            raise UserError("split is for folders and member is for JSON files; give only one of them")
        return member_rows(path, self.member)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row, according to the map."""
        row = self._with_dotted(row)
        self._check_chosen(row)
        options = self._options(row)
        paths = (images.take(row, name) for name in _listed(self.image))
        return QuestionRecord(
            question=row.text(self.question).strip(),
            images=tuple(path for group in paths for path in group),
            answer=self._answer(row, options),
            options=options,
            domain="" if self.domain_field is None else row.text(self.domain_field),
            answer_type=self._answer_type(row, options),
            precision=self._precision(row),
            unit=row.optional_text(self.unit) if self.unit is not None else None,
            id=answer_text(row, self.id) if self.id is not None else "",
        )

    def _with_dotted(self, row: Fields) -> Fields:
        """The row with an additional field for each dotted name in the map."""
        single = [getattr(self, option) for option in _SINGLE]
        names = [name for name in single if name is not None]
        names += [*_listed(self.options), *_listed(self.image), *(self.where or {})]
        reached = {name: _reach(row.values, name) for name in names if "." in name and name not in row.values}
        found = {name: value for name, value in reached.items() if value is not None}
        return row.with_values({**row.values, **found}) if found else row

    def _check_chosen(self, row: Fields) -> None:
        for name, wanted in (self.where or {}).items():
            if name not in row.values and wanted is not None and "." not in name:
                raise row.missing(name, f"a field to compare with {wanted!r} (where)")
            choices = wanted if isinstance(wanted, list) else [wanted]
            if not any(_same(row.values.get(name), choice) for choice in choices):
                raise NotChosen(f"{name} is not {' or '.join(map(str, choices))} (where)")

    def _options(self, row: Fields) -> tuple[str, ...]:
        if isinstance(self.options, list):
            values = [row.values.get(name) for name in self.options]
            absent = next((name for name in self.options if name not in row.values), None)
            if absent is not None:
                raise row.missing(absent, "an option, or null")
            while values and (values[-1] is None or values[-1] == ""):
                values.pop()
            for name, value in zip(self.options, values, strict=False):
                if value is None or value == "":
                    raise row.error(name, "a text, since a later option has one")
            return checked_options(row, "+".join(self.options), values)
        if self.options is None:
            return ()
        if self.options not in row:
            if self.options not in row.values and "." not in self.options:
                raise row.missing(self.options, "a list of options, or null for an open question")
            return ()
        return option_texts(row, self.options)

    def _answer(self, row: Fields, options: tuple[str, ...]) -> str:
        if not options:
            return answer_text(row, self.answer)
        if self.answer_index is None:
            return letter_of(row, self.answer, options)
        return letter_at(row, self.answer, options, first=self.answer_index)

    def _answer_type(self, row: Fields, options: tuple[str, ...]) -> str | None:
        given = row.optional_text(self.answer_type) if self.answer_type is not None else None
        if given is None:
            return "choice" if options else None
        allowed = f"one of {', '.join(ANSWER_TYPES)}, or null"
        if given not in ANSWER_TYPES or (given == "choice") != bool(options):
            raise row.error(str(self.answer_type), allowed + "; choice if and only if there are options")
        return given

    def _precision(self, row: Fields) -> int | None:
        if self.precision is None or self.precision not in row:
            return None
        value = row.values[self.precision]
        if isinstance(value, str) and len(value) < 20 and value.isdecimal():  # a CSV file holds texts only
            value = int(value)
        if isinstance(value, float) and value.is_integer():  # a column with gaps is stored as floats
            value = int(value)
        if not is_precision(value):
            raise row.error(self.precision, PRECISION)
        return int(value)


def _listed(names: Names | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else names


def _reach(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _same(value: Any, wanted: Any) -> bool:
    """Compare as texts, since a CSV file holds only texts and YAML reads `split: 1` as a number."""
    if value is None or wanted is None:
        return value is wanted
    if isinstance(value, bool) or isinstance(wanted, bool):
        return str(value).lower() == str(wanted).lower()
    return str(value) == str(wanted)
