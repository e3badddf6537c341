"""GeoQA, GeoQA+ and UniGeo: pickled lists of geometry problems with embedded diagrams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import Row
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, checked_options, letter_at
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import as_fields
from dreamprm.formats.questions.layout import SplitLayout
from dreamprm.formats.questions.plain_pickle import load_plain_pickle
from dreamprm.formats.table_files import usable_rows

PICKLES = (".pk", ".pkl", ".pickle")


@dataclass(frozen=True)
class GeoProblems(SplitLayout):
    """Reads a pickled list of problems (see `load_plain_pickle`), or a table with the same fields.

    A problem has `id`, the question in one of several languages, `choices`, `choice_nums`, `label` (the right
    one's index) and `image` or `img`. The options are the texts in `choices`, or else the numbers in
    `choice_nums`. The diagram is an array of pixels, which is written to `image_folder` as a PNG file, or
    anything that `ImageFolder.take` accepts.
    """

    text: str = setting("subject", "the field with the question")

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per problem."""
        if path.suffix.lower() not in PICKLES:
            yield from super().rows(path)
            return
        problems = load_plain_pickle(path)
        if not isinstance(problems, list | tuple):
            raise DataError(f"{path}: contains {type(problems).__name__}; allowed: a list of problems")
        rows = as_fields((Row(index, value) for index, value in enumerate(problems, start=1)), path)
        yield from usable_rows(rows)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one problem."""
        field = "choices" if "choices" in row else "choice_nums"
        values = row.require(field, "a list of options")
        if not isinstance(values, list | tuple):
            raise row.error(field, "a list of options")
        options = checked_options(row, field, [_plain(value) for value in values])
        plain = {name: _plain(row.values.get(name)) for name in ("id", "label")}
        named = row.with_values(plain)
        name = "image" if "image" in row else "img"
        has_pixels = hasattr(row.values.get(name), "dtype")
        return self.question_record(
            question=row.text(self.text).strip(),
            images=(images.embed_pixels(row, name),) if has_pixels else images.take(row, name),
            answer=letter_at(named, "label", options),
            options=options,
            id=f"{self.prefix}-{answer_text(named, 'id')}",
        )


def _plain(value: Any) -> Any:
    """Convert a numpy number to a Python number; return anything else unchanged."""
    return value.item() if hasattr(value, "dtype") and value.ndim == 0 else value


@dataclass(frozen=True)
class GeoQAPlus(GeoProblems):
    """GeoQA+ (Cao and Xiao, COLING 2022) and GeoQA (Chen et al., Findings of ACL 2021, arXiv 2105.14517).

    Reads the release's pickles (`train.pk`, `Mix-train.pk`, `new-test.pk`, ...): a list of problems with
    `id`, `subject` (the question, in Chinese), `choices`, `choice_nums`, `label` (the right one's index) and
    `image` (an array of grey values), in addition to `answer` (the solution), `manual_program` and others.
    The fields are those that the projects' own readers use. It was not verified that every problem has texts
    in `choices`; `choice_nums` is used for a problem without them. Pickles are read as plain data only; see
    `load_plain_pickle`. Tables (JSON, parquet) with the same fields can be read as well.

    Diagrams are written to `image_folder` as PNG files.
    """

    name = "GeoQA+"
    prefix = "geoqa"
    help = "GeoQA and GeoQA+: the release's pickles (read as plain data only), or a table with their fields"
    signature = (("subject", "choices", "label", "image"),)

    text: str = setting(
        "subject", "the field with the question; use `English_problem` if a translation was added"
    )


@dataclass(frozen=True)
class UniGeo(GeoProblems):
    """UniGeo (Chen et al., EMNLP 2022, arXiv 2212.02746).

    Reads the release's `calculation_train.pk`, `calculation_val.pk`, `calculation_test.pk`: pickled lists
    with GeoQA's fields (see `GeoQAPlus`) and `English_problem`, the question in English. Tables (JSON,
    parquet) with the same fields can be read as well.

    The proving problems (`proving_*.pk`: `input_text`, `proving_sequence`) ask for a proof, which a
    final-answer checker cannot judge; they are left out and counted.
    """

    name = "UniGeo"
    prefix = "unigeo"
    help = "UniGeo: the release's calculation_SPLIT.pk (read as plain data only), or a table with its fields"
    signature = (("problem", "choice_nums", "label", "img"),)

    text: str = setting("English_problem", "the field with the question; `subject` is the Chinese one")

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if "proving_sequence" in row.values:
            raise NotChosen("a proof has no final answer")
        return super().record(row, images)
