"""IconQA: questions about icon drawings, with texts or images as options, or a blank to fill in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, letter_at, number_type, option_texts
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import named_rows, object_rows, read_object
from dreamprm.formats.questions.layout import QuestionLayout

_TASKS = ("choose_txt", "choose_img", "fill_in_blank")


@dataclass(frozen=True)
class IconQA(QuestionLayout):
    """IconQA (Lu et al., NeurIPS 2021 Datasets and Benchmarks, arXiv 2110.13214; CC BY-NC-SA 4.0).

    Reads the release's folder `iconqa_data`: a problem's folder `iconqa/SPLIT/QUES_TYPE/NUMBER` contains
    `image.png`, also `choice_0.png`, ... if the options are images, and `data.json` with `question`,
    `choices`, `answer` (an index, or the text to fill in) and `ques_type` (choose_txt, choose_img,
    fill_in_blank). If the source is `problems.json`, or a folder that contains it, the problems are taken
    from that file, by number; it is in `iconqa_data` or next to it. If they name no split, it is taken from
    `pid_splits.json` ({"choose_txt_train": [NUMBER, ...]}).

    If the options are images, the question's images are the drawing followed by the options' images, and the
    options are `<image 2>`, `<image 3>`, ..., which is how MMMU refers to images.
    """

    name = "IconQA"
    prefix = "iconqa"
    help = "IconQA: the release's folder iconqa_data; images as options become <image 2>, <image 3>, ..."
    signature = (("question", "ques_type", "choices", "answer", "grade"),)

    split: str | None = setting(None, "which of its splits; null: all", choices=("train", "val", "test"))
    task: str | None = setting(None, "only questions of this kind; null: all", choices=_TASKS)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per problem, with its number and split."""
        file = path / "problems.json" if path.is_dir() else path
        if path.is_dir() and not file.is_file():
            yield from _own_files(path)
            return
        listed = file.with_name("pid_splits.json")
        splits = _split_of_problem(listed) if listed.is_file() else {}
        for row in named_rows(file, name="pid"):
            if isinstance(row, Fields) and "split" not in row and row.values["pid"] in splits:
                row = row.with_values({**row.values, "split": splits[row.values["pid"]]})
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

        own = row.path.name == "data.json"  # the file is in the problem's folder

        def find(name: str) -> str:
            places = [f"iconqa/{place}/{name}", f"{place}/{name}", f"iconqa_data/iconqa/{place}/{name}"]
            return images.find(row, "pid", [name, *places] if own else places)

        paths, options = [find("image.png")], tuple[str, ...]()
        if task == "choose_txt":
            options = option_texts(row, "choices")
        elif task == "choose_img":
            files = option_texts(row, "choices")
            paths += [find(name) for name in files]
            options = tuple(f"<image {number}>" for number in range(2, 2 + len(files)))
        answer = letter_at(row, "answer", options) if options else answer_text(row, "answer")
        return self.question_record(
            question=row.text("question").strip(),
            images=tuple(paths),
            answer=answer,
            options=options,
            answer_type=number_type(answer) or "text",
            id=f"{self.prefix}-{number}",
        )


def _own_files(folder: Path) -> Iterator[Fields | DataError]:
    """The problems of `SPLIT/QUES_TYPE/NUMBER/data.json`, each with its number and split."""
    files = sorted(folder.rglob("data.json"), key=lambda file: (file.parts[:-2], file.parent.name.zfill(12)))
    if not files:
        raise DataError(f"{folder}: contains neither problems.json nor problem folders with a data.json")
    for row in object_rows(files):
        if isinstance(row, Fields):
            split, _, number = row.path.parts[-4:-1]
            row = row.with_values({"split": split, **row.values, "pid": number})
        yield row


def _split_of_problem(path: Path) -> dict[str, str]:
    """The split by problem number, from those of the file's lists that are for one task and one split."""
    names = [f"{task}_{split}" for task in _TASKS for split in ("train", "val", "test")]
    lists = read_object(path)
    return {
        str(number): name.rpartition("_")[2]
        for name in names
        if name in lists
        for number in lists.texts(name)
    }
