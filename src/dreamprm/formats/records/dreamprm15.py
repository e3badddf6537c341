"""The meta files of DreamPRM-1.5: conversations with one turn a step and a right/wrong label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.records import MetaRecord
from dreamprm.formats.format import ConvertReport, NotChosen
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.json_rows import json_rows
from dreamprm.formats.option_checks import whole_number
from dreamprm.formats.row_files import records_of
from dreamprm.formats.writers import write_json_array

HELP = "DreamPRM-1.5 meta files: conversations with one turn a step, as meta records"

_QUESTION_HEADING = "### Question:"
_INSTRUCTION = (
    "You judge the steps of a solution. The first turn holds the problem, each later turn one step."
    " Answer every step with + if the solution is right up to it, and with - if it is not."
)


def read(
    path: str | Path,
    *,
    min_steps: int = 1,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[MetaRecord]:
    """Read a DreamPRM-1.5 meta file: `id`, `true_false`, `image`, `conversations` of {`from`, `value`} turns.

    The first human turn is the question (without its "### Question:" heading), the other human turns are the
    steps. The system turn is an instruction to another model, the gpt turns are placeholders ("+" on every
    step of right and wrong answers alike), and `response` repeats the steps: none is kept. Image paths are
    kept as written; point `image_root` at the folder they start from when the result is read. The project's
    training files are of another form, which format `visualprm` reads.
    Source: github.com/coder-qicao/DreamPRM-1.5, arXiv 2509.05542.

    Args:
        path: a JSON array or a JSON Lines file.
        min_steps: leave out records with fewer steps, >= 1. In the public MMMU-Pro file 896 of 1,656 records
            have a single step, often the bare answer; 2 keeps the 760 others.
        on_error, max_bad_fraction: as in `read_step_records`.
        report: counts what is left out.

    Yields:
        Records in the file's order.

    Raises:
        UserError: no such file, or `min_steps` < 1.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    whole_number("min_steps", min_steps, least=1)
    tolerance = Tolerance(on_error, max_bad_fraction)
    rows = json_rows(path)
    return records_of(
        rows, lambda row: _record(row, min_steps), path=path, tolerance=tolerance, report=report
    )


def write(records: Iterable[MetaRecord], path: str | Path) -> None:
    """Write meta records as a DreamPRM-1.5 meta file, a JSON array.

    The gpt turns are "+" throughout, as in the public file: single steps have no label there either. The
    system turn is our own wording; `response` is the steps joined by blank lines. Several images become a
    list of paths, which the public loader does not read.

    Args:
        records: meta records with at least one step. White space around question and steps is not kept by
            the reader.
        path: the file.

    Raises:
        DataError: a record without steps.
    """
    write_json_array(path, map(_row, records))


def _record(fields: Fields, min_steps: int) -> MetaRecord:
    question, steps = _question_and_steps(fields)
    if len(steps) < min_steps:
        raise NotChosen(f"fewer than {min_steps} steps")
    return MetaRecord(
        question=question,
        images=images_of(fields),
        steps=steps,
        correct=fields.truth("true_false"),
        id=fields.identifier(),
    )


def _question_and_steps(fields: Fields) -> tuple[str, tuple[str, ...]]:
    human: list[str] = []
    for turn in fields.objects("conversations"):
        speaker = turn.text("from")
        if speaker not in ("system", "human", "gpt"):
            raise turn.error("from", "'system', 'human' or 'gpt'")
        if speaker == "human":
            human.append(turn.text("value").strip())
    if len(human) < 2:
        turns = f"{len(human)} human turns"
        raise fields.error("conversations", "a human turn with the question and one for every step", turns)
    question = human[0].removeprefix(_QUESTION_HEADING).strip()
    if not question:
        raise fields.error("conversations", "a question in the first human turn", human[0])
    return question, tuple(human[1:])


def _row(record: MetaRecord) -> dict[str, Any]:
    if not record.steps:
        raise DataError(
            f"record {record.id} has no steps, and a conversation has a turn for each; leave such records out"
        )
    turns = [("system", _INSTRUCTION), ("human", f"{_QUESTION_HEADING}\n{record.question}")]
    for step in record.steps:
        turns += [("human", step), ("gpt", "+")]
    return {
        "id": record.id,
        "response": "\n\n".join(record.steps),
        "true_false": record.correct,
        "image": image_value(record.images),
        "conversations": [{"from": speaker, "value": value} for speaker, value in turns],
    }
