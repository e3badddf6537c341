"""PlotQA: questions about plots of real data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, decimals_for, number_type
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import member_rows
from dreamprm.formats.questions.layout import QuestionLayout


@dataclass(frozen=True)
class PlotQA(QuestionLayout):
    """PlotQA (Methani et al., WACV 2020, arXiv 1909.00997; CC BY 4.0).

    Reads the release's `qa_pairs_V1.json` or `qa_pairs_V2.json` of a split: `{"qa_pairs":
    [{"question_string", "answer" (a text or a number), "image_index", "question_id", ...}]}`, with the images
    in `png/INDEX.png` next to it. The files hold millions of questions and are read in bounded memory.

    Many answers are computed means and differences with a dozen decimals, and the benchmark accepts a number
    within 5%. Here a decimal answer is rounded to `significant` digits, and those decimals must match.
    """

    name = "PlotQA"
    prefix = "plotqa"
    help = "PlotQA: a split's qa_pairs_V1.json or qa_pairs_V2.json"
    signature = (("question_string", "image_index", "answer", "qid"),)

    significant: int = setting(
        3, "significant digits kept of a decimal answer; never more decimals than it has", minimum=1
    )

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        yield from member_rows(path, "qa_pairs")

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        answer, index = answer_text(row, "answer"), answer_text(row, "image_index")
        return self.question_record(
            question=row.text("question_string").strip(),
            images=(images.find(row, "image_index", [f"png/{index}.png", f"{index}.png"]),),
            answer=answer,
            answer_type=number_type(answer) or "text",
            precision=decimals_for(answer, self.significant),
        )

    def source_name(self, path: Path) -> str:
        """The name includes the split's folder, since the file has the same name in every split."""
        return f"{path.resolve().parent.name}-{path.stem}"
