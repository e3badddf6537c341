"""FigureQA: yes/no questions about generated plots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import member_rows
from dreamprm.formats.questions.layout import QuestionLayout


@dataclass(frozen=True)
class FigureQA(QuestionLayout):
    """FigureQA (Kahou et al., 2017, arXiv 1710.07300).

    Reads the release's folder of a split (train1, validation1, validation2) or its `qa_pairs.json`:
    `{"qa_pairs": [{"question_string", "answer" (1 yes, 0 no), "image_index", "question_id", ...}]}`, with the
    images in `png/INDEX.png` next to it. The test splits are published without answers and cannot be read.

    All questions are yes/no questions, so each gets the options (Yes, No) and is judged by a letter, like
    other questions with options.
    """

    name = "FigureQA"
    prefix = "figureqa"
    help = "FigureQA: a split's folder, or its qa_pairs.json; yes/no questions get the options Yes and No"
    signature = (("question_string", "image_index", "answer", "question_id"),)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        file = path / "qa_pairs.json" if path.is_dir() else path
        yield from member_rows(file, "qa_pairs")

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        allowed = "1 for yes or 0 for no (the test splits are published without answers)"
        answer = row.require("answer", allowed)
        if isinstance(answer, bool) or answer not in (0, 1):
            raise row.error("answer", allowed)
        index = answer_text(row, "image_index")
        return self.question_record(
            question=row.text("question_string").strip(),
            images=(images.find(row, "image_index", [f"png/{index}.png", f"{index}.png"]),),
            answer="A" if answer == 1 else "B",
            options=("Yes", "No"),
        )

    def source_name(self, path: Path) -> str:
        """The name of the split's folder, since the file has the same name in every split."""
        return (path if path.is_dir() else path.parent).resolve().name
