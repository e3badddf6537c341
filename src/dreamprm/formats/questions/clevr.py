"""CLEVR's form of questions, which CLEVR-Math and Super-CLEVR share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.choices import answer_text, number_type
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import member_rows


def clevr_rows(path: Path) -> Iterator[Fields | DataError]:
    """The questions of `{"info": ..., "questions": [...]}` (Johnson et al., CLEVR, arXiv 1612.06890)."""
    yield from member_rows(path, "questions")


def clevr_record(row: Fields, images: ImageFolder, *, domain: str) -> QuestionRecord:
    """The question of one row: `question`, `answer`, `image_filename` and perhaps `split`.

    The image is looked for as CLEVR lays it out (`images/SPLIT/NAME`) and in plainer places. Answers true and
    false become yes and no, CLEVR's own words for them.
    """
    name, split = row.text("image_filename"), row.optional_text("split")
    places = ([f"images/{split}/{name}", f"{split}/{name}"] if split else []) + [f"images/{name}", name]
    stated = row.values.get("answer")
    answer = {True: "yes", False: "no"}[stated] if isinstance(stated, bool) else answer_text(row, "answer")
    return QuestionRecord(
        question=row.text("question").strip(),
        images=(images.find(row, "image_filename", places),),
        answer=answer,
        options=(),
        domain=domain,
        answer_type=number_type(answer) or "text",
        precision=None,
        unit=None,
        id="",
    )
