"""CLEVR-Math: adding to and taking from scenes of objects, and counting what is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.choices import answer_text
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.clevr import clevr_record, clevr_rows
from dreamprm.formats.questions.layout import SplitLayout
from dreamprm.formats.tables import read_table


@dataclass(frozen=True)
class CLEVRMath(SplitLayout):
    """CLEVR-Math (Lindström and Abraham, NeSy 2022, arXiv 2208.05358; CC BY-SA 4.0).

    Two layouts are read:

    - the release: `clevr-math-SPLIT.json`, CLEVR's form (`clevr_record`), with CLEVR's images: set
      `image_root` to `CLEVR_v1.0`;
    - the hub's `dali-does/clevr-math` as a table: `id` (the image's name, not unique), `question`, `image`,
      `label` (the number), `template`.

    Attributes:
        split: of a hub folder, which of its splits.
    """

    name = "CLEVR-Math"
    prefix = "clevr-math"
    help = "CLEVR-Math: the release's clevr-math-SPLIT.json with CLEVR's images, or the hub's table"

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row a question."""
        yield from clevr_rows(path) if path.suffix == ".json" else read_table(path, split=self.split)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        if "image_filename" in row.values:
            return clevr_record(row, images, domain=self.name)
        return QuestionRecord(
            question=row.text("question").strip(),
            images=images.take(row, "image"),
            answer=answer_text(row, "label"),
            options=(),
            domain=self.name,
            answer_type="integer",
            precision=None,
            unit=None,
            id="",
        )
