"""M3CoT: multi-domain, multi-step, multi-modal questions with options."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import letter_given, option_texts, with_context
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.layout import SplitLayout


@dataclass(frozen=True)
class M3CoT(SplitLayout):
    """M3CoT (Chen et al., ACL 2024, arXiv 2405.16473).

    Reads the release's `train.jsonl`, `dev.jsonl`, `test.jsonl` and the hub's `LightChen2333/M3CoT`. Rows
    have `id`, `question`, `context`, `choices`, `answer` (a letter), `image` (a path in the release, the
    image itself on the hub) or `image_path`, in addition to `rationale`, `domain`, `topic`, `category`,
    `split`. The release's images are found by paths relative to the folder of its scripts, or as
    `images/ID.png` next to the file; both are tried.
    """

    name = "M3CoT"
    prefix = "m3cot"
    help = "M3CoT: the release's SPLIT.jsonl, or the hub's LightChen2333/M3CoT"
    signature = (("question", "choices", "answer", "rationale", "topic"),)

    context: bool = setting(True, "whether to put the context before the question")

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        options = option_texts(row, "choices")
        own = row.text("id")
        field = "image" if "image" in row else "image_path"
        if isinstance(row.values.get(field), str):
            places = [row.text(field), f"images/{own}.png"]
            paths: tuple[str, ...] = (images.find(row, field, places),)
        else:
            paths = images.take(row, field)
        return self.question_record(
            question=with_context(row, "context" if self.context else None),
            images=paths,
            answer=letter_given(row, "answer", options),
            options=options,
            id=f"{self.prefix}-{own}",
        )
