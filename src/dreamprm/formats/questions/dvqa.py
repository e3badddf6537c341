"""DVQA: questions about generated bar charts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, number_type
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.layout import QuestionLayout
from dreamprm.formats.table_files import read_table


@dataclass(frozen=True)
class DVQA(QuestionLayout):
    """DVQA (Kafle et al., CVPR 2018, arXiv 1801.08163; CC BY-NC 4.0).

    Reads the release's `SPLIT_qa.json` (train, val_easy, val_hard): an array of `question`, `answer`, `image`
    (`bar_SPLIT_00000000.png`), `question_id`, `template_id` (structure, data or reasoning; called
    `question_type` in the release's own description), `answer_bbox`. The images are in `images/` next to it.

    Answers are kept as written: values are in digits and counts in words (one, two). Yes/no questions are
    open questions with the answer yes or no.
    """

    name = "DVQA"
    prefix = "dvqa"
    help = "DVQA: the release's SPLIT_qa.json"
    signature = (("question", "question_id", "image", "answer", "template_id"),)

    template: str | None = setting(
        None, "only questions of this kind; null: all", choices=("structure", "data", "reasoning")
    )

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        yield from read_table(path)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if self.template is not None:
            field = "template_id" if "template_id" in row.values else "question_type"
            if row.text(field) != self.template:
                raise NotChosen(f"{field} is not {self.template} (template)")
        answer, image = answer_text(row, "answer"), row.text("image")
        return self.question_record(
            question=row.text("question").strip(),
            images=(images.find(row, "image", [f"images/{image}", image]),),
            answer=answer,
            answer_type=number_type(answer) or "text",
            id=f"{self.prefix}-{answer_text(row, 'question_id')}",
        )
