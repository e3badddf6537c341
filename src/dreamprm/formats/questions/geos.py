"""GEOS: geometry questions of the SAT, with diagrams."""

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

    - a folder with one folder a question, in it `question.json` (`key`, `text`, `choices` {"1": TEXT, ...},
      `answer`, the right one's number from 1 on) and `diagram.png`, as in the project's demonstration
      (verified there);
    - the questions as its server gave them: a JSON array with `pk`, `text`, `choices`, `answer`,
      `diagram_url`; the images lie under the URL's last part in `image_root`. (Field names from the
      project's reader; that `answer` is among them was not verified.)

    Options are in the project's formula language (`30*\\degree`) where it parsed them, and are kept so.
    """

    name = "GEOS"
    prefix = "geos"
    help = "GEOS: geosolver's folders of question.json and diagram.png, or its questions as one JSON array"

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row a question."""
        if not path.is_dir():
            yield from read_table(path)
            return
        files = sorted(path.rglob("question.json"), key=lambda file: (file.parent.name.zfill(12), str(file)))
        if not files:
            raise DataError(f"{path}: holds no question.json; allowed: one folder a question with that file")
        yield from object_rows(files)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        options = self._options(row)
        own = answer_text(row, "key" if "key" in row.values else "pk")
        given = "diagram_path" if "diagram_path" in row.values else "diagram_url"
        file = PurePosixPath(row.optional_text(given) or "diagram.png").name
        beside = f"{row.path.parent.name}/diagram.png"  # where an image root holds the questions' folders
        places = ["diagram.png", beside, file] if row.path.name == "question.json" else [file]
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
