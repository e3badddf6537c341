"""CLEVR-Math and Super-CLEVR: questions about rendered scenes, in CLEVR's layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, number_type
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import member_rows
from dreamprm.formats.questions.layout import QuestionLayout, SplitLayout
from dreamprm.formats.table_files import read_table


def clevr_rows(path: Path) -> Iterator[Fields | DataError]:
    """The questions of `{"info": ..., "questions": [...]}` (Johnson et al., CLEVR, arXiv 1612.06890)."""
    return member_rows(path, "questions")


def clevr_record(layout: QuestionLayout, row: Fields, images: ImageFolder) -> QuestionRecord:
    """The question of one row: `question`, `answer`, `image_filename` and optionally `split`.

    The image is looked up where CLEVR puts it (`images/SPLIT/NAME`) and in simpler places. The answers true
    and false become yes and no, CLEVR's own words for them.
    """
    name, split = row.text("image_filename"), row.optional_text("split")
    places = ([f"images/{split}/{name}", f"{split}/{name}"] if split else []) + [f"images/{name}", name]
    stated = row.values.get("answer")
    answer = {True: "yes", False: "no"}[stated] if isinstance(stated, bool) else answer_text(row, "answer")
    return layout.question_record(
        question=row.text("question").strip(),
        images=(images.find(row, "image_filename", places),),
        answer=answer,
        answer_type=number_type(answer) or "text",
    )


@dataclass(frozen=True)
class CLEVRMath(SplitLayout):
    """CLEVR-Math (Lindström and Abraham, NeSy 2022, arXiv 2208.05358; CC BY-SA 4.0).

    Two layouts are read:

    - the release: `clevr-math-SPLIT.json` in CLEVR's layout (`clevr_record`), with CLEVR's images: set
      `image_root` to `CLEVR_v1.0`;
    - the hub's `dali-does/clevr-math` as a table: `id` (the image's name, not unique), `question`, `image`,
      `label` (the number), `template`.
    """

    name = "CLEVR-Math"
    prefix = "clevr-math"
    help = "CLEVR-Math: the release's clevr-math-SPLIT.json with CLEVR's images, or the hub's table"
    signature = (("question", "image_filename", "answer", "template"),)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        yield from clevr_rows(path) if path.suffix == ".json" else read_table(path, split=self.split)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if "image_filename" in row.values:
            return clevr_record(self, row, images)
        return self.question_record(
            question=row.text("question").strip(),
            images=images.take(row, "image"),
            answer=answer_text(row, "label"),
            answer_type="integer",
        )


@dataclass(frozen=True)
class SuperCLEVR(QuestionLayout):
    """Super-CLEVR (Li et al., CVPR 2023, arXiv 2212.00259; CC BY 4.0).

    Reads the release's `superCLEVR_questions_30k.json` (or its NoRedundant and AllRedundant variants), from
    GitHub or the hub's `RyanWW/Super-CLEVR`, in CLEVR's layout (`clevr_record`). The images of `images.zip`
    are looked up in `images/` next to it. The fields are those of the samples in the project's repository;
    this was not tested on the full file.

    Answers are numbers, words for attributes, and true or false (written as yes and no, see `clevr_record`);
    all questions are open.
    """

    name = "Super-CLEVR"
    prefix = "super-clevr"
    help = "Super-CLEVR: superCLEVR_questions_30k.json with images/ next to it"
    signature = (("question", "image_filename", "answer", "program"),)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        yield from clevr_rows(path)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        return clevr_record(self, row, images)
