"""A-OKVQA: questions about photographs that require world knowledge."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import letter_at, option_texts
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.layout import SplitLayout


@dataclass(frozen=True)
class AOKVQA(SplitLayout):
    """A-OKVQA (Schwenk et al., ECCV 2022, arXiv 2206.01718; Apache-2.0), its multiple-choice setting.

    Two layouts are read:

    - the release: `aokvqa_v1p0_SPLIT.json`, an array of `question_id`, `image_id`, `question`, `choices`,
      `correct_choice_idx`, `direct_answers`, `split`; the images are those of COCO 2017, named by the image's
      number in twelve digits: set `image_root` to COCO's folder (with `train2017`, `val2017`, ...) or to one
      of these subfolders;
    - the hub's `HuggingFaceM4/A-OKVQA`: the same columns, with `image` in place of `image_id`.

    The direct answers (from ten people) are not used, since a question record has one answer. The test split
    is published without answers and cannot be read.
    """

    name = "A-OKVQA"
    prefix = "aokvqa"
    help = "A-OKVQA: aokvqa_v1p0_SPLIT.json with COCO's images, or the hub's HuggingFaceM4/A-OKVQA"
    signature = (("choices", "correct_choice_idx", "question_id"),)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        options = option_texts(row, "choices")
        return self.question_record(
            question=row.text("question").strip(),
            images=(self._coco(row, images),) if "image_id" in row.values else images.take(row, "image"),
            answer=letter_at(row, "correct_choice_idx", options),
            options=options,
            id=f"{self.prefix}-{row.text('question_id')}",
        )

    @staticmethod
    def _coco(row: Fields, images: ImageFolder) -> str:
        number = row.require("image_id", "the number of a COCO image")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise row.error("image_id", "the number of a COCO image")
        file, split = f"{number:012d}.jpg", row.optional_text("split")
        return images.find(row, "image_id", ([f"{split}2017/{file}"] if split else []) + [file])
