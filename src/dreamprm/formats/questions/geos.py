"""GEOS: SAT geometry questions with diagrams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, checked_options, letter_at
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import object_rows
from dreamprm.formats.questions.layout import QuestionLayout
from dreamprm.formats.table_files import read_table


@dataclass(frozen=True)
class GEOS(QuestionLayout):
    """GEOS (Seo et al., Solving Geometry Problems, EMNLP 2015).

    Two layouts of the authors' `geosolver` are read:

    - a folder with one folder per question, which contains `question.json` (`key`, `text`, `choices` {"1":
      TEXT, ...}, `answer`, the right one's number, counted from 1) and `diagram.png`, as in the project's
      demonstration (verified there);
    - the questions as returned by its server: a JSON array with `pk`, `text`, `choices`, `answer`,
      `diagram_url`; the images are in `image_root`, named by the last part of the URL. (The field names are
      from the project's reader; it was not verified that `answer` is among them.)

    Options that the project parsed are in its formula language (`30*\\degree`) and are kept as they are.
    """

    name = "GEOS"
    prefix = "geos"
    help = "GEOS: geosolver's folders of question.json and diagram.png, or its questions as one JSON array"
    signature = (("text", "choices", "answer", "diagram_path"), ("text", "choices", "answer", "diagram_url"))

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        if not path.is_dir():
            yield from read_table(path)
            return
        files = sorted(path.rglob("question.json"), key=lambda file: (file.parent.name.zfill(12), str(file)))
        if not files:
            raise DataError(
                f"{path}: holds no question.json; allowed: one folder per question with that file"
            )
        yield from object_rows(files)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        options = self._options(row)
        own = answer_text(row, "key" if "key" in row.values else "pk")
        given = "diagram_path" if "diagram_path" in row.values else "diagram_url"
        file = PurePosixPath(row.optional_text(given) or "diagram.png").name
        nested = f"{row.path.parent.name}/diagram.png"  # if image_root contains the questions' folders
        places = ["diagram.png", nested, file] if row.path.name == "question.json" else [file]
        return self.question_record(
            question=row.text("text").strip(),
            images=(images.find(row, given, places),),
            answer=letter_at(row, "answer", options, first=1),
            options=options,
            id=f"{self.prefix}-{own}",
        )

    @staticmethod
    def _options(row: Fields) -> tuple[str, ...]:
        allowed = 'options by their numbers: {"1": text, "2": text, ...}'
        choices = row.require("choices", allowed)
        if not isinstance(choices, dict) or not choices:
            raise row.error("choices", allowed)
        numbers = [str(number) for number in range(1, len(choices) + 1)]
        if set(choices) != set(numbers):
            raise row.error("choices", allowed)
        return checked_options(row, "choices", [choices[number] for number in numbers])
