"""VisualPRM400K (arXiv 2503.10291): Monte-Carlo scores of multimodal steps, raw or as conversations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.json_rows import json_rows
from dreamprm.formats.option_checks import optional_name
from dreamprm.formats.records.right_or_wrong import RightOrWrong, Unlabelled
from dreamprm.formats.row_files import domain_of, records_of
from dreamprm.formats.writers import write_json_lines

HELP = "VisualPRM400K jsonl, raw (Monte-Carlo scores) or conversations (+ and -), as step records"

Unsampled = Literal["null", "zero"]
Form = Literal["raw", "conversations"]

_QUESTION, _SOLUTION = "### Question:\n", "\n\n### Solution Process:\n"
_IMAGE_MARK = "<image>\n"
_SIGNS = {"+": 1.0, "-": 0.0}
_INSTRUCTION = (
    "You judge the steps of a solution. The first turn holds the problem and the first step, each later turn"
    " one more step. Answer every step with + if the solution is right up to it, and with - if it is not."
)


def read(
    path: str | Path,
    *,
    domain: str | None = None,
    unsampled: Unsampled = "null",
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[StepRecord]:
    """Read an annotation file of VisualPRM400K or VisualPRM400K-v1.1, in either published form.

    Raw (the datasets named "-Raw"): `image`, `question`, `steps_with_score`, a list of {`step`, `score`,
    `num_mc_correct`, `num_mc_total`}; the score is the share of completions that ended right, our p_i, and
    `num_mc_total` (or else the row's `num_mc_sequences`) the number of rollouts. `question` is the prompt
    that the completions were sampled with, instruction and all: where the row has `question_orig`, the
    question alone, that is taken. The authors split responses at blank lines; a step without text, with
    nothing to score, is left out. `answer` and `response` are not kept.

    Conversations: `image`, `conversations`; the first human turn holds question and first step under
    "### Question:" and "### Solution Process:", each later one a step, and the gpt turns say "+" (label 1:
    some completion was right) or "-" (label 0). Which form a row has is seen from its fields.

    The authors stop sampling behind a step none of whose completions was right: later steps have score 0 with
    `num_mc_total` 0. Nobody sampled there, so the label is null; `unsampled=zero` takes the 0 instead.

    Source: OpenGVLab/VisualPRM400K, -v1.1 and -v1.1-Raw, MIT; the layout as their data cards and the pipeline
    in github.com/OpenGVLab/InternVL (internvl_chat/tools/reasoning_data_pipeline) have it. Image paths are
    kept as written. "<image>" lines in front of the question, one an image, are taken off; marks inside it
    stay.

    Args:
        path: a JSON Lines file or a JSON array.
        domain: the domain of its records; None: each row's own `domain`, or else the file's name without its
            ending (the authors have one file a dataset).
        unsampled: the label of a step with score 0 and no rollout: `null` or `zero`.
        on_error, max_bad_fraction, report: as in `read_step_records`.

    Yields:
        One record a row, in the file's order. The published rows have no id (or -1 for each): a record's is
        file name and line.

    Raises:
        UserError: no such file, or an option outside what is allowed.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    if unsampled not in ("null", "zero"):
        raise UserError(f"unsampled must be 'null' or 'zero', got {unsampled!r}")
    optional_name("domain", domain)
    tolerance = Tolerance(on_error, max_bad_fraction)
    rows = json_rows(path)
    return records_of(
        rows, lambda row: _record(row, domain, unsampled), path=path, tolerance=tolerance, report=report
    )


def write(
    records: Iterable[StepRecord],
    path: str | Path,
    *,
    form: Form = "raw",
    threshold: float | None = None,
    unlabelled: Unlabelled = "error",
    report: ConvertReport | None = None,
) -> None:
    """Write step records as a VisualPRM400K annotation file, JSON Lines.

    `id` and `domain` are added in both forms. Raw: `answer` is null, since our records do not know it, and
    `response` is the steps joined by blank lines. Without a number of rollouts a step has a score only;
    `num_mc_correct` is null where score times rollouts is no whole number. Null labels behind a 0 are written
    as the authors do, score 0 and no rollouts, and `unsampled=null` reads them back. Conversations: labels
    become "+" and "-", numbers of rollouts are not kept.

    Args:
        records: step records.
        path: the file.
        form: `raw` or `conversations`.
        threshold: conversations: labels above it become "+" (the authors take 0); None: they must be 0 or 1.
        unlabelled: a record with a null label that the form cannot hold is an `error`, or left out (`skip`).
        report: counts what is left out.

    Raises:
        UserError: an option outside what is allowed, or a threshold for the raw form.
        DataError: a record that the form cannot hold, naming it and the option that decides.
    """
    if form not in ("raw", "conversations"):
        raise UserError(f"form must be 'raw' or 'conversations', got {form!r}")
    if form == "raw" and threshold is not None:
        raise UserError("threshold is for form=conversations; the raw form holds the labels as they are")
    rule = RightOrWrong(threshold, unlabelled)
    if form == "raw":
        rows = (_raw_row(record) for record in rule.labelled(records, report, held=_stops_after_zero))
    else:
        rows = (_conversation_row(record, rule) for record in rule.labelled(records, report))
    write_json_lines(path, rows)


_Steps = tuple[str, ...]
_Labels = tuple[float | None, ...]
_Rollouts = tuple[int | None, ...]


def _record(fields: Fields, domain: str | None, unsampled: Unsampled) -> StepRecord:
    if "conversations" in fields:
        question, steps, labels, rollouts = _judged_turns(fields)
    else:
        question = fields.text("question_orig" if "question_orig" in fields else "question")
        steps, labels, rollouts = _scored_steps(fields, unsampled)
    images = images_of(fields)
    return StepRecord(
        question=question.removeprefix(_IMAGE_MARK * len(images)),
        images=images,
        domain=domain_of(fields, domain),
        steps=steps,
        labels=labels,
        rollouts=rollouts,
        id=_identifier(fields),
    )


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
        allowed = "at least one step with rollouts (unsampled=zero takes the scores as they are)"
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
        raise fields.error("conversations", "a gpt turn with + or - behind every human turn")
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
    return f"{fields.path.name}:{fields.line}" if given == -1 else fields.identifier()


def _stops_after_zero(record: StepRecord) -> bool:
    """Whether all null labels stand at the end, behind a 0: there the authors stop sampling too."""
    labels = list(record.labels)
    while labels and labels[-1] is None:
        labels.pop()
    return None not in labels and len(labels) < len(record.labels) and labels[-1:] == [0.0]


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
    """The question with a mark for every image in front, unless it has marks of its own."""
    marks = "" if "<image>" in record.question else _IMAGE_MARK * len(record.images)
    return marks + record.question


def _score(label: float | None, rollouts: int | None) -> dict[str, Any]:
    if label is None:
        return {"score": 0.0, "num_mc_correct": 0, "num_mc_total": 0}
    if rollouts is None:
        return {"score": label}
    correct = round(label * rollouts)
    # A share such as 1/3 is not exact as a float.
    is_whole = abs(correct - label * rollouts) <= 1e-9 * rollouts
    return {"score": label, "num_mc_correct": correct if is_whole else None, "num_mc_total": rollouts}


def _conversation_row(record: StepRecord, rule: RightOrWrong) -> dict[str, Any]:
    if _SOLUTION in record.question:
        raise DataError(f"record {record.id}: the question holds {_SOLUTION!r}, which ends the question here")
    turns = [("system", _INSTRUCTION)]
    for index, (step, right) in enumerate(zip(record.steps, rule.right(record), strict=True)):
        text = f"{_QUESTION}{_marked_question(record)}{_SOLUTION}{step}" if index == 0 else step
        turns += [("human", text), ("gpt", "+" if right else "-")]
    return {
        "id": record.id,
        "domain": record.domain,
        "image": image_value(record.images),
        "conversations": [{"from": speaker, "value": value} for speaker, value in turns],
    }
