"""MMMU: college questions in thirty subjects, with up to seven images; the questions of the meta set."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import accepted_answers, letter_given, number_type, option_texts
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.image_marks import numbers_given, renumbered
from dreamprm.formats.questions.layout import SplitLayout

_MOST_IMAGES = 7
_TYPES = ("multiple-choice", "open")


@dataclass(frozen=True)
class MMMU(SplitLayout):
    """MMMU (Yue et al., CVPR 2024, arXiv 2311.16502; Apache-2.0).

    Reads the hub's parquet files `MMMU/MMMU` (a folder of one subject, or of all of them): `id`, `question`,
    `options` (a Python list in a text), `answer`, `question_type` (multiple-choice or open), `image_1` to
    `image_7`, `subfield`. `<image 1>` in questions and options refers to the images, which are kept in order;
    these marks stay in the text, counted anew where a number is missing.

    The answers of the test split are not published ("?"). An open question may have several accepted answers
    (a Python list in a text); the first is taken, since a question record has one answer.
    """

    name = "MMMU"
    prefix = "mmmu"
    help = "MMMU: the hub's parquet files of MMMU/MMMU"
    signature = (("question", "options", "question_type", "image_1"),)

    question_type: str | None = setting(None, "only questions of this kind; null: all", choices=_TYPES)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        kind = row.text("question_type")
        if kind not in _TYPES:
            raise row.error("question_type", f"one of {', '.join(_TYPES)}")
        if self.question_type not in (None, kind):
            raise NotChosen(f"question_type is not {self.question_type}")
        if row.text("answer").strip() == "?":
            raise row.error("answer", "an answer (those of the test split are not published)")
        options = option_texts(row, "options") if kind == "multiple-choice" else ()
        if kind == "multiple-choice" and not options:
            raise row.error("options", "at least one option, since question_type is multiple-choice")
        answer = letter_given(row, "answer", options) if options else accepted_answers(row, "answer")[0]
        names = [f"image_{number}" for number in range(1, _MOST_IMAGES + 1)]
        paths = (images.take(row, name) for name in names)
        asked, *texts = renumbered([row.text("question").strip(), *options], numbers_given(row, names))
        return self.question_record(
            question=asked,
            images=tuple(path for group in paths for path in group),
            answer=answer,
            options=tuple(texts),
            answer_type=number_type(answer) or None,
            id=row.text("id"),
        )
