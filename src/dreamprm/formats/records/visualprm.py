"""VisualPRM400K (arXiv 2503.10291): Monte-Carlo scores of multimodal steps, raw or as conversations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.records.step_format import StepReader, StepWriter

Unsampled = Literal["null", "zero"]
Form = Literal["raw", "conversations"]

_QUESTION, _SOLUTION = "### Question:\n", "\n\n### Solution Process:\n"
_IMAGE_MARK = "<image>\n"
_SIGNS = {"+": 1.0, "-": 0.0}
_INSTRUCTION = (
    "You judge the steps of a solution. The first turn holds the problem and the first step, each later turn"
    " one more step. Answer every step with + if the solution is right up to it, and with - if it is not."
)


_Steps = tuple[str, ...]
_Labels = tuple[float | None, ...]
_Rollouts = tuple[int | None, ...]


@dataclass(frozen=True)
class VisualPRM(StepReader):
    """An annotation file of VisualPRM400K or VisualPRM400K-v1.1, in either published form.

    Raw (the datasets named "-Raw"): `image`, `question`, `steps_with_score`, a list of {`step`, `score`,
    `num_mc_correct`, `num_mc_total`}. The score is the fraction of completions that ended right, our p_i, and
    `num_mc_total` (or else the row's `num_mc_sequences`) is the number of rollouts. `question` is the whole
    prompt used for sampling the completions, including the instruction; if the row has `question_orig`, the
    question alone, that is used instead. The authors split responses at blank lines; a step without text has
    nothing to score and is left out. `answer` and `response` are not kept.

    Conversations: `image`, `conversations`; the first human turn holds the question and the first step under
    "### Question:" and "### Solution Process:", each later one holds a step, and the gpt turns are "+" (label
    1: some completion was right) or "-" (label 0). A row's form is detected from its fields.

    The authors stop sampling after a step with no right completion: later steps have score 0 with
    `num_mc_total` 0. Nothing was sampled there, so the label is null; `unsampled=zero` uses the 0 instead.

    Source: OpenGVLab/VisualPRM400K, -v1.1 and -v1.1-Raw, MIT; the layout follows their data cards and the
    pipeline in github.com/OpenGVLab/InternVL (internvl_chat/tools/reasoning_data_pipeline). JSON Lines or a
    JSON array, one file per dataset. The published rows have no id (or all have -1), so a record's id is its
    file name and line. Image paths are kept as written. "<image>" lines before the question, one per image,
    are removed; marks inside it stay.
    """

    help = "VisualPRM400K jsonl, raw (Monte-Carlo scores) or conversations (+ and -), as step records"
    signature = (("question", "steps_with_score"), ("image", "conversations"))

    unsampled: Unsampled = setting(
        "null", "the label of a step with score 0 and no rollouts", choices=("null", "zero")
    )

    def record(self, row: Fields) -> StepRecord:
        """The record of one row."""
        if "conversations" in row:
            question, steps, labels, rollouts = _judged_turns(row)
        else:
            question = row.text("question_orig" if "question_orig" in row else "question")
            steps, labels, rollouts = _scored_steps(row, self.unsampled)
        images = images_of(row)
        return self.step_record(
            row,
            question=question.removeprefix(_IMAGE_MARK * len(images)),
            images=images,
            steps=steps,
            labels=labels,
            rollouts=rollouts,
            id=_identifier(row),
        )


@dataclass(frozen=True)
class VisualPRMWriter(StepWriter):
    """Writes JSON Lines; `id` and `domain` are added in both forms.

    Raw: `answer` is null, since our records do not have it, and `response` is the steps joined by blank
    lines. A step without a number of rollouts has only a score; `num_mc_correct` is null if score times
    rollouts is not a whole number. Null labels after a 0 are written as the authors do, with score 0 and no
    rollouts, and `unsampled=null` reads them back. Conversations: labels become "+" and "-" (the authors use
    threshold 0), and rollout counts are not kept.
    """

    form: Form = setting(
        "raw",
        "raw scores, or conversations (the only form that uses a threshold)",
        choices=("raw", "conversations"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form == "raw" and self.threshold is not None:
            raise UserError(
                "threshold is only for form=conversations; the raw form holds the labels unchanged"
            )

    def holds_null(self, record: StepRecord) -> bool:
        """Whether all null labels are at the end, after a 0, which is where the authors stop sampling."""
        labels = list(record.labels)
        while labels and labels[-1] is None:
            labels.pop()
        stopped = None not in labels and len(labels) < len(record.labels) and labels[-1:] == [0.0]
        return self.form == "raw" and stopped

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        return _raw_row(record) if self.form == "raw" else _conversation_row(record, self.right(record))


def _scored_steps(fields: Fields, unsampled: Unsampled) -> tuple[_Steps, _Labels, _Rollouts]:
    steps: list[str] = []
    labels: list[float | None] = []
    rollouts: list[int | None] = []
    for scored in fields.objects("steps_with_score"):
        step = _text_or_blank(scored, "step")
        if not step.strip():
            continue
        steps.append(step)
        score = scored.probability("score")
        if scored.values.get("num_mc_total") == 0:
            if score != 0:
                raise scored.error("score", "0 where num_mc_total is 0")
            labels.append(None if unsampled == "null" else 0.0)
            rollouts.append(None)
        else:
            labels.append(score)
            rollouts.append(
                scored.count("num_mc_total") if "num_mc_total" in scored else fields.count("num_mc_sequences")
            )
    if all(label is None for label in labels):
        allowed = "at least one step with rollouts (unsampled=zero uses the scores as they are)"
        raise fields.error("steps_with_score", allowed)
    return tuple(steps), tuple(labels), tuple(rollouts)


def _judged_turns(fields: Fields) -> tuple[str, _Steps, _Labels, _Rollouts]:
    steps: list[str] = []
    labels: list[float | None] = []
    turns = [turn for turn in fields.objects("conversations") if turn.text("from") != "system"]
    for index, turn in enumerate(turns):
        speaker = ("human", "gpt")[index % 2]
        if turn.text("from") != speaker:
            raise turn.error("from", f"{speaker!r}: a human turn with a step, then a gpt turn with + or -")
        if speaker == "human":
            steps.append(_text_or_blank(turn, "value"))
            continue
        sign = turn.text("value").strip()
        if sign not in _SIGNS:
            raise turn.error("value", "'+' or '-'")
        labels.append(_SIGNS[sign])
    if not steps or len(labels) != len(steps):
        raise fields.error("conversations", "a gpt turn with + or - after every human turn")
    question, mark, first = steps[0].partition(_SOLUTION)
    question = question.removeprefix(_IMAGE_MARK * len(images_of(fields))).removeprefix(_QUESTION)
    kept = [index for index, step in enumerate((first, *steps[1:])) if step.strip()]
    if not mark or not question.strip() or not kept:
        form = "a first human turn '### Question:\\n...\\n\\n### Solution Process:\\n...'"
        raise fields.error("conversations", form, steps[0])
    steps[0] = first
    judged = tuple(steps[index] for index in kept), tuple(labels[index] for index in kept)
    return question, *judged, (None,) * len(kept)


def _text_or_blank(fields: Fields, name: str) -> str:
    value = fields.require(name, "a text")
    if not isinstance(value, str):
        raise fields.error(name, "a text")
    return value


def _identifier(fields: Fields) -> str:
    given = fields.values.get("id")
    return fields.place_name if given == -1 else fields.identifier()


def _raw_row(record: StepRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "domain": record.domain,
        "image": image_value(record.images),
        "question": _marked_question(record),
        "answer": None,
        "response": "\n\n".join(record.steps),
        "steps_with_score": [
            {"step": step} | _score(label, rollouts)
            for step, label, rollouts in zip(record.steps, record.labels, record.rollouts, strict=True)
        ],
    }


def _marked_question(record: StepRecord) -> str:
    """The question, preceded by one mark per image unless it has marks of its own."""
    marks = "" if "<image>" in record.question else _IMAGE_MARK * len(record.images)
    return marks + record.question


def _score(label: float | None, rollouts: int | None) -> dict[str, Any]:
    if label is None:
        return {"score": 0.0, "num_mc_correct": 0, "num_mc_total": 0}
    if rollouts is None:
        return {"score": label}
    correct = round(label * rollouts)
    # A fraction such as 1/3 is not exact as a float.
    is_whole = abs(correct - label * rollouts) <= 1e-9 * rollouts
    return {"score": label, "num_mc_correct": correct if is_whole else None, "num_mc_total": rollouts}


def _conversation_row(record: StepRecord, right: Iterable[bool]) -> dict[str, Any]:
    if _SOLUTION in record.question:
        raise DataError(
            f"record {record.id}: the question contains {_SOLUTION!r},"
            " which marks the end of the question in this format"
        )
    turns = [("system", _INSTRUCTION)]
    for index, (step, is_right) in enumerate(zip(record.steps, right, strict=True)):
        text = f"{_QUESTION}{_marked_question(record)}{_SOLUTION}{step}" if index == 0 else step
        turns += [("human", text), ("gpt", "+" if is_right else "-")]
    return {
        "id": record.id,
        "domain": record.domain,
        "image": image_value(record.images),
        "conversations": [{"from": speaker, "value": value} for speaker, value in turns],
    }
