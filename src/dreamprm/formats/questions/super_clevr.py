"""Super-CLEVR: questions about scenes of vehicles and their parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.clevr import clevr_record, clevr_rows
from dreamprm.formats.questions.layout import QuestionLayout


@dataclass(frozen=True)
class SuperCLEVR(QuestionLayout):
    """Super-CLEVR (Li et al., CVPR 2023, arXiv 2212.00259; CC BY 4.0).

    Read is the release's `superCLEVR_questions_30k.json` (or its NoRedundant and AllRedundant forms), on
    GitHub and the hub's `RyanWW/Super-CLEVR`: CLEVR's form (`clevr_record`). The images of `images.zip` are
    looked for in `images/` beside it. The fields are those of the samples in the project's repository; the
    full file was not seen.

    Answers are numbers, words for attributes, and true or false (written as yes and no, see `clevr_record`):
    open questions all of them.
    """

    name = "Super-CLEVR"
    prefix = "super-clevr"
    help = "Super-CLEVR: superCLEVR_questions_30k.json with images/ beside it"

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row a question."""
        yield from clevr_rows(path)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        return clevr_record(row, images, domain=self.name)
