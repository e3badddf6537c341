"""The text-with-separator family: a solution with a mark after each step, and a list of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.answer_fields import parsed_list
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.records.step_format import StepReader, StepWriter, before_first_step
from dreamprm.formats.table_files import read_any

SEPARATORS = ("<prm>", "<extra_0>", "ки", "\n\n\n\n\n", "\n\n")
"""The marks of MM-PRM, Qwen2.5-Math-PRM, Math-Shepherd and OpenRLHF, OpenR and AtomThink, and paragraphs."""

_QUESTIONS = ("question", "problem", "prompt", "query", "instruction")
_TEXTS = ("process", "response", "solution", "output", "input", "inputs")
_LABELS = ("labels", "label", "values", "value")
_IMAGES = ("images", "image", "image_path")
_WORDS = {"+": 1.0, "-": 0.0, "1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}

Form = Literal["numbers", "signs"]
_Labels = tuple[float | None, ...]


@dataclass(frozen=True)
class Separated(StepReader):
    """Solutions with a separator after each step, and a list with one label per step.

    The question, the text and the labels are read from the first of these fields that a row has: `question`,
    `problem`, `prompt`, `query`, `instruction`; `process`, `response`, `solution`, `output`, `input`,
    `inputs`; `labels`, `label`, `values`, `value`; options name others. Without a question's field, the
    question is the text before the last "Step 1:". MM-PRM's training files are read too:
    `conversations` of a human turn "Question: ...\\nProcess: ..." and a gpt turn with the list of labels.

    A label is "+" or "-", true or false, or a number in [0, 1] (MM-PRM: the share of right completions); null
    is not labelled. Without `separator`, it is the first of `SEPARATORS` that divides the text into as many
    steps as there are labels. Empty steps are left out with their labels. Numbers of rollouts are not known.

    Sources: github.com/ModalMinds/MM-PRM (`data_pipeline/traverse.py`, `prm_data_format.py`);
    github.com/openreasoner/openr (`preprocess/src/data_types/converted.py`, `prm/code/test.json`). AtomThink
    publishes no file of its PRM data: its code (`atomthink_slow.py`) uses OpenR's and Qwen's marks.
    """

    help = "a text with a mark after each step (<prm>, <extra_0>, ки, blank lines) and a list of labels"
    signature = (
        ("question", "process", "labels"),
        ("question", "process", "label"),
        ("question", "response", "labels"),
        ("id", "image", "conversations"),
    )

    separator: str | None = setting(
        None,
        "the mark after each step, or between steps; \\n is a line break; null: the first of <prm>,"
        " <extra_0>, ки, five line breaks, a blank line that gives as many steps as labels",
    )
    question_field: str | None = setting(None, "the field with the question; null: the first known name")
    text_field: str | None = setting(None, "the field with the steps; null: the first known name")
    labels_field: str | None = setting(None, "the field with the labels; null: the first known name")
    split: str | None = setting(None, "which split of a folder with several splits")

    may_be_blank: ClassVar[tuple[str, ...]] = ("separator",)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table, or of a JSON file with any ending."""
        return read_any(path, split=self.split)

    def record(self, row: Fields) -> StepRecord:
        """The record of one row."""
        if "conversations" in row:
            row = _flat(row)
        text_name = _name(row, self.text_field, _TEXTS, "the solution with a mark after each step")
        labels_name = _name(row, self.labels_field, _LABELS, "a list of labels, one per step")
        labels = _labels(row, labels_name)
        text = row.text(text_name)
        question_name = self.question_field or next((n for n in _QUESTIONS if n in row), None)
        if question_name is not None:
            question = row.text(question_name)
        else:
            place = before_first_step(text)
            question, text = text[:place].strip(), text[place:]
            if not question:
                raise row.missing("question", f"the question, or a {text_name} with it before 'Step 1:'")
        steps = self._steps(row, text_name, text, len(labels))
        kept = [(step.strip(), label) for step, label in zip(steps, labels, strict=True) if step.strip()]
        if all(label is None for _, label in kept):
            raise row.error(text_name, "at least one step that is not empty and has a label")
        return self.step_record(
            row,
            question=question,
            images=images_of(row, next((n for n in _IMAGES if n in row), "image")),
            steps=[step for step, _ in kept],
            labels=tuple(label for _, label in kept),
        )

    def _steps(self, row: Fields, name: str, text: str, labels: int) -> list[str]:
        tried = SEPARATORS if self.separator is None else (_unescaped(self.separator),)
        counts = {}
        for separator in (one for one in tried if one in text):
            pieces = text.strip().split(separator) if separator.strip() else text.strip("\n").split(separator)
            if not pieces[-1].strip():
                pieces.pop()
            if len(pieces) == labels:
                return pieces
            counts[separator] = len(pieces)
        if not counts and labels == 1:
            return [text]
        found = (
            ", ".join(f"{count} by {separator!r}" for separator, count in counts.items()) or "no separator"
        )
        allowed = (
            f"a text that a separator divides into {labels} steps, one per label (it gives {found}; the"
            " option separator names another)"
        )
        raise row.error(name, allowed, text[-60:])


@dataclass(frozen=True)
class SeparatedWriter(StepWriter):
    """Writes JSON Lines: `question`, `process`, `labels`, `image_path`; `id` and `domain` are added.

    Each step is followed by the separator and, as in MM-PRM, by a blank line. White space around steps and
    numbers of rollouts are not kept. A step that holds the separator is an error.
    """

    may_be_blank: ClassVar[tuple[str, ...]] = ("separator",)

    separator: str = setting("<prm>", "the mark after each step; \\n is a line break")
    form: Form = setting(
        "numbers",
        "labels as numbers and null, or as signs + and - (the only form that uses a threshold)",
        choices=("numbers", "signs"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form == "numbers" and self.threshold is not None:
            raise UserError("threshold is only for form=signs; the numbers hold the labels unchanged")

    def holds_null(self, record: StepRecord) -> bool:
        """Whether the labels are numbers, among which null stands for itself."""
        del record
        return self.form == "numbers"

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        separator = _unescaped(self.separator)
        for step in record.steps:
            if separator in step.strip():
                raise DataError(
                    f"record {record.id}: a step contains {separator!r}, the separator; choose another"
                )
        labels: list[Any] = list(record.labels)
        if self.form != "numbers":
            labels = ["+" if right else "-" for right in self.right(record)]
        return {
            "id": record.id,
            "domain": record.domain,
            "question": record.question,
            "process": "\n\n".join(step.strip() + separator for step in record.steps),
            "labels": labels,
        } | ({"image_path": image_value(record.images)} if record.images else {})


def _unescaped(separator: str) -> str:
    """A separator with `\\n`, as a command line gives it, for line breaks."""
    return separator.replace("\\n", "\n")


def _name(row: Fields, given: str | None, known: Sequence[str], what: str) -> str:
    if given is not None:
        return given
    found = next((name for name in known if name in row), None)
    if found is None:
        raise row.missing(known[0], what)
    return found


def _labels(row: Fields, name: str) -> _Labels:
    allowed = "a list of labels: +, -, true, false, a number in [0, 1], or null"
    values = row.require(name, allowed)
    values = parsed_list(values) if isinstance(values, str) else values
    if not isinstance(values, list) or not values:
        raise row.error(name, allowed)
    labels: list[float | None] = []
    for index, value in enumerate(values):
        if isinstance(value, str):
            value = _WORDS.get(value.strip().lower(), value)
        if value is not None and (not isinstance(value, bool | int | float) or not 0 <= value <= 1):
            raise row.error(f"{name}[{index}]", "+, -, true, false, a number in [0, 1], or null", value)
        labels.append(None if value is None else float(value))
    if all(label is None for label in labels):
        raise row.error(name, "at least one step with a label")
    return tuple(labels)


def _flat(row: Fields) -> Fields:
    """MM-PRM's conversation as a row with `question`, `process` and `labels`."""
    turns = row.objects("conversations")
    if [turn.values.get("from") for turn in turns] != ["human", "gpt"]:
        raise row.error("conversations", "a human turn with question and process, and a gpt turn with labels")
    asked = turns[0].text("value")
    question, mark, process = asked.removeprefix("Question:").partition("\nProcess:")
    if not mark or not question.strip() or not process.strip():
        raise turns[0].error("value", "'Question: ...\\nProcess: ...'")
    values = {key: value for key, value in row.values.items() if key != "conversations"}
    found = {"question": question.strip(), "process": process, "labels": turns[1].values.get("value")}
    return row.with_values({**values, **found})
