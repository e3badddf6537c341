"""TabMWP: word problems about tables, which are provided as images and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, letter_of, number_type, option_texts
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import named_rows
from dreamprm.formats.questions.layout import SplitLayout


@dataclass(frozen=True)
class TabMWP(SplitLayout):
    """TabMWP (Lu et al., PromptPG, ICLR 2023, arXiv 2209.14610; CC BY-NC-SA 4.0).

    Reads the release's `problems_SPLIT.json`: an object of problems by number with `question`, `choices` (a
    list or null), `answer` (a text; one of the choices if there are any), `unit`, `table_title`, `table`,
    `ques_type` (multi_choice or free_text), `ans_type` (integer_number, decimal_number, ...), `split`. The
    tables' images are `tables/NUMBER.png` next to it.

    A file that holds several splits (`train`, `dev`, `test`) is read whole unless `split` names one. A
    fraction ("3/4"), which the release counts among the decimal numbers, is compared as an expression.
    """

    name = "TabMWP"
    prefix = "tabmwp"
    help = "TabMWP: the release's problems_SPLIT.json with tables/ next to it"
    signature = (("question", "answer", "ans_type", "table"),)

    table_text: bool = setting(
        False, "whether to put the release's text version of the table before the question"
    )

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per problem."""
        yield from named_rows(path, name="pid")

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if self.split is not None and row.text("split") != self.split:
            raise NotChosen(f"split is not {self.split}")
        options = option_texts(row, "choices") if "choices" in row else ()
        number = row.text("pid")
        answer = letter_of(row, "answer", options) if options else answer_text(row, "answer")
        return self.question_record(
            question=self._question(row),
            images=(images.find(row, "pid", [f"tables/{number}.png", f"{number}.png"]),),
            answer=answer,
            options=options,
            answer_type=_answer_type(row, answer),
            unit=None if options else row.optional_text("unit"),
            id=f"{self.prefix}-{number}",
        )

    def _question(self, row: Fields) -> str:
        question = row.text("question").strip()
        if not self.table_text:
            return question
        title = row.optional_text("table_title")
        return "\n".join([*([title] if title else []), row.text("table"), "", question])


def _answer_type(row: Fields, answer: str) -> str:
    kind = row.text("ans_type")
    if kind not in ("integer_number", "decimal_number"):
        return "text"
    if "/" in answer:
        return "symbolic"
    # Thousands are written with commas ("1,200"), but the release counts them as numbers.
    return number_type(answer) or ("integer" if kind == "integer_number" else "float")
