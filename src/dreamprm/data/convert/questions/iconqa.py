"""IconQA: questions about icon drawings, with texts or images as options, or a blank to fill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.data.convert.choices import answer_text, letter_at, number_type, option_texts
from dreamprm.data.convert.format import NotChosen
from dreamprm.data.convert.image_folder import ImageFolder
from dreamprm.data.convert.option_checks import one_of
from dreamprm.data.convert.question_layout import QuestionLayout
from dreamprm.data.convert.questions.problems import problem_rows
from dreamprm.data.convert.questions.small_json import read_object
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.errors import DataError

_TASKS = ("choose_txt", "choose_img", "fill_in_blank")


@dataclass(frozen=True)
class IconQA(QuestionLayout):
    """IconQA (Lu et al., NeurIPS 2021 Datasets and Benchmarks, arXiv 2110.13214; CC BY-NC-SA 4.0).

    Read is the release's folder `iconqa_data`: `problems.json`, an object of problems by number with
    `question`, `choices`, `answer` (an index, or the text to fill in), `ques_type` (choose_txt, choose_img,
    fill_in_blank), `split`; the images are `iconqa/SPLIT/QUES_TYPE/NUMBER/image.png` with `choice_0.png`, ...
    beside it where images are the options. Where the problems name no split, it is taken from
    `pid_splits.json` ({"choose_txt_train": [NUMBER, ...]}).

    A question with images as options gets all of them as its images, the drawing first, and the options
    `<image 2>`, `<image 3>`, ..., as MMMU refers to images.

    Attributes:
        split: `train`, `val` or `test`; None for all.
        task: `choose_txt`, `choose_img` or `fill_in_blank` questions only; None for all.
    """

    name = "IconQA"
    prefix = "iconqa"
    help = "IconQA: the release's folder iconqa_data; images as options become <image 2>, <image 3>, ..."

    split: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        one_of("split", self.split, ("train", "val", "test", None))
        one_of("task", self.task, (*_TASKS, None))

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row a problem, with its number and split."""
        file = path / "problems.json" if path.is_dir() else path
        listed = file.with_name("pid_splits.json")
        splits = _split_of_problem(listed) if listed.is_file() else {}
        for row in problem_rows(file, number="pid"):
            if isinstance(row, Fields) and "split" not in row and row.values["pid"] in splits:
                row = Fields({**row.values, "split": splits[row.values["pid"]]}, row.path, line=row.line)
            yield row

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        task, split, number = row.text("ques_type"), row.text("split"), row.text("pid")
        if task not in _TASKS:
            raise row.error("ques_type", f"one of {', '.join(_TASKS)}")
        if self.split not in (None, split):
            raise NotChosen(f"split is not {self.split}")
        if self.task not in (None, task):
            raise NotChosen(f"ques_type is not {self.task} (task)")
        place = f"{split}/{task}/{number}"

        def find(name: str) -> str:
            return images.find(row, "pid", [f"iconqa/{place}/{name}", f"{place}/{name}"])

        paths, options = [find("image.png")], tuple[str, ...]()
        if task == "choose_txt":
            options = option_texts(row, "choices")
        elif task == "choose_img":
            files = option_texts(row, "choices")
            paths += [find(name) for name in files]
            options = tuple(f"<image {number}>" for number in range(2, 2 + len(files)))
        answer = letter_at(row, "answer", options) if options else answer_text(row, "answer")
        return QuestionRecord(
            question=row.text("question").strip(),
            images=tuple(paths),
            answer=answer,
            options=options,
            domain=self.name,
            answer_type="choice" if options else number_type(answer) or "text",
            precision=None,
            unit=None,
            id=f"{self.prefix}-{number}",
        )


def _split_of_problem(path: Path) -> dict[str, str]:
    """The split of each problem's number; of the file's lists those of one task and one split."""
    names = [f"{task}_{split}" for task in _TASKS for split in ("train", "val", "test")]
    lists = read_object(path)
    return {
        str(number): name.rpartition("_")[2]
        for name in names
        if name in lists
        for number in lists.texts(name)
    }
