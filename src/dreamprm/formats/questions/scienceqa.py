"""ScienceQA: multiple-choice questions from science lessons, about half of them with an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import letter_at, option_texts, with_context
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import named_rows
from dreamprm.formats.questions.layout import SplitLayout
from dreamprm.formats.table_files import read_table


@dataclass(frozen=True)
class ScienceQA(SplitLayout):
    """ScienceQA (Lu et al., Learn to Explain, NeurIPS 2022, arXiv 2209.09513; CC BY-NC-SA 4.0).

    Two layouts are read:

    - the release: `problems.json` (or the folder that contains it), an object of problems by number with
      `question`, `choices`, `answer` (an index), `hint`, `image` ("image.png" or null), `split`; the images
      are `images/SPLIT/NUMBER/image.png` next to it, or `SPLIT/NUMBER/image.png`;
    - the hub's `derek-thomas/ScienceQA`: the same columns, with the image in the row, but without number and
      split.

    Splits are `train`, `val` and `test` (on the hub `train`, `validation` and `test`); all splits of a
    release are read if `split` is not set. Half of the questions have no image; `without_image` decides what
    to do with them.
    """

    name = "ScienceQA"
    prefix = "scienceqa"
    help = "ScienceQA: the release's problems.json, or the hub's derek-thomas/ScienceQA"
    signature = (("question", "choices", "answer", "hint", "lecture"),)

    hint: bool = setting(True, "whether to put the problem's hint (its context) before the question")

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per problem."""
        file = path / "problems.json" if path.is_dir() else path
        if file.name.endswith("problems.json") and file.is_file():
            yield from named_rows(file, name="pid")
        else:
            yield from read_table(path, split=self.split)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        options = option_texts(row, "choices")
        if "pid" in row:
            split, number = row.text("split"), row.text("pid")
            if self.split not in (None, split):
                raise NotChosen(f"split is not {self.split}")
            paths: tuple[str, ...] = ()
            if "image" in row:
                place = f"{split}/{number}/{row.text('image')}"
                paths = (images.find(row, "image", [f"images/{place}", place]),)
            id = f"{self.prefix}-{number}"
        else:
            paths, id = images.take(row, "image"), ""
        return self.question_record(
            question=with_context(row, "hint" if self.hint else None),
            images=paths,
            answer=letter_at(row, "answer", options),
            options=options,
            id=id,
        )
