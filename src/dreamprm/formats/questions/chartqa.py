"""ChartQA: open questions about charts, human-written or generated."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, checked_options, decimals_for, number_type
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.layout import SplitLayout


@dataclass(frozen=True)
class ChartQA(SplitLayout):
    """ChartQA (Masry et al., Findings of ACL 2022, arXiv 2203.10244; GPL-3.0).

    Four layouts are read:

    - the release: `SPLIT/SPLIT_human.json` or `SPLIT/SPLIT_augmented.json`, an array of `imgname`, `query`,
      `label`; the images are in `png/` next to it;
    - the hub's `HuggingFaceM4/ChartQA`: `image`, `query`, `label` (a list of one text),
      `human_or_machine` (0 or 1, or their names);
    - the authors' own table on the hub, `ahmed-masry/ChartQA`: the release's fields, plus `image` and `type`;
    - the hub's `lmms-lab/ChartQA`: `image`, `question`, `answer`, `type`.

    Ratios and means are written with many digits ("1.216666667"), and the benchmark accepts a number within
    5%. Here a decimal answer is rounded to `significant` digits, and those decimals must match.
    """

    name = "ChartQA"
    prefix = "chartqa"
    help = "ChartQA: the release's SPLIT_human.json or SPLIT_augmented.json, or the hub's tables"
    signature = (("imgname", "query", "label"), ("query", "label", "human_or_machine"))

    author: str | None = setting(
        None,
        "only questions by human or by machine (in the release, the file determines which); null: all",
        choices=("human", "machine"),
    )
    significant: int = setting(
        3, "significant digits kept of a decimal answer; never more decimals than it has", minimum=1
    )

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        self._check_chosen(row)
        question, answer_name = ("query", "label") if "query" in row.values else ("question", "answer")
        answer = _only(row, answer_name)
        paths = images.take(row, "image")
        if not paths and "imgname" in row:
            image = row.text("imgname")
            paths = (images.find(row, "imgname", [f"png/{image}", image]),)
        return self.question_record(
            question=row.text(question).strip(),
            images=paths,
            answer=answer,
            answer_type=number_type(answer) or "text",
            precision=decimals_for(answer, self.significant),
        )

    def _check_chosen(self, row: Fields) -> None:
        if self.author is None:
            return
        given = row.values.get("human_or_machine", row.values.get("type"))
        kinds = {
            "0": "human",
            "human": "human",
            "human_test": "human",
            "1": "machine",
            "machine": "machine",
            "augmented": "machine",
            "augmented_test": "machine",
        }
        kind = kinds.get(str(given))
        if kind is None:
            name = "type" if "type" in row.values else "human_or_machine"
            raise row.error(name, "the question's author: human or 0, machine or 1")
        if kind != self.author:
            raise NotChosen(f"the question is not by {self.author} (author)")


def _only(row: Fields, name: str) -> str:
    value = row.values.get(name)
    if isinstance(value, list):
        if len(value) != 1:
            raise row.error(name, "one answer")
        return checked_options(row, name, value)[0]
    return answer_text(row, name)
