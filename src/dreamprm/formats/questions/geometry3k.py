"""Geometry3K: plane geometry problems with diagrams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, letter_given, number_type, option_texts
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import object_rows
from dreamprm.formats.questions.layout import SplitLayout
from dreamprm.formats.table_files import read_table

_PLACEHOLDER = "<image>"


@dataclass(frozen=True)
class Geometry3K(SplitLayout):
    """Geometry3K (Lu et al., Inter-GPS, ACL 2021, arXiv 2105.04165).

    Two layouts are read:

    - the release: a folder with one folder per problem (`train/0`, ...), which contains `data.json` (`id`,
      `problem_text`, `choices`, `answer` (a letter), `data_type` (the split)) and `img_diagram.png`;
    - the hub's `hiyouga/geometry3k`: `images`, `problem`, `answer`. It has no options; the answers are LaTeX
      and are compared as expressions. The `<image>` at the start of each problem, a chat template's
      placeholder, is removed.
    """

    name = "Geometry3K"
    prefix = "geometry3k"
    help = "Geometry3K: the release's folder, or the hub's hiyouga/geometry3k"
    signature = (("problem_text", "choices", "answer", "data_type"),)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per problem; those of the release are in numerical order."""
        files = path.rglob("data.json") if path.is_dir() else iter(())
        problems = sorted(
            files, key=lambda file: (not file.parent.name.isdigit(), file.parent.name.zfill(12), str(file))
        )
        if not problems:
            yield from read_table(path, split=self.split)
        yield from object_rows(problems)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if "problem_text" in row.values:
            return self._of_release(row, images)
        answer = answer_text(row, "answer")
        return self.question_record(
            question=row.text("problem").strip().removeprefix(_PLACEHOLDER).strip(),
            images=images.take(row, "images"),
            answer=answer,
            answer_type=number_type(answer) or "symbolic",
        )

    def _of_release(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        if self.split is not None and row.text("data_type") != self.split:
            raise NotChosen(f"data_type is not {self.split} (split)")
        options = option_texts(row, "choices")
        own = answer_text(row, "id")
        # An image root contains the problems' folders; without one, the image is next to its data.json.
        places = ["img_diagram.png", f"{row.path.parent.name}/img_diagram.png"]
        return self.question_record(
            question=row.text("problem_text").strip(),
            images=(images.find(row, "id", places),),
            answer=letter_given(row, "answer", options),
            options=options,
            id=f"{self.prefix}-{own}",
        )
