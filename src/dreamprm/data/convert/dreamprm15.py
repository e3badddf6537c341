"""The meta files of DreamPRM-1.5: conversations with one turn a step and a right/wrong label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import stream_json
from dreamprm.data.records import MetaRecord
from dreamprm.errors import DataError, UserError

HELP = "DreamPRM-1.5 meta files: conversations with one turn a step, as meta records"

_QUESTION_HEADING = "### Question:"


def convert(path: str | Path, *, min_steps: int = 1) -> Iterator[MetaRecord]:
    """Read a DreamPRM-1.5 meta file: `id`, `true_false`, `image`, `conversations` of {`from`, `value`} turns.

    The first human turn is the question (without its "### Question:" heading), the other human turns are the
    steps. The system turn is an instruction to another model, and the gpt turns are placeholders ("+" on
    every step of right and wrong answers alike): neither is kept. Image paths are kept as written; point
    `image_root` at the folder they start from when the result is read.

    Args:
        path: a JSON array or a JSON Lines file.
        min_steps: leave out records with fewer steps, >= 1. In the public MMMU-Pro file 896 of 1,656 records
            have a single step, often the bare answer; 2 keeps the 760 others.

    Yields:
        Records in the file's order.

    Raises:
        UserError: no such file, or `min_steps` < 1.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    if min_steps < 1:
        raise UserError(f"min_steps must be >= 1, got {min_steps}")
    path = Path(path)
    for row in stream_json(path):
        if row.problem is not None:
            raise DataError(f"{path}:{row.line}: {row.problem}")
        fields = Fields(row.value, path, line=row.line)
        question, steps = _question_and_steps(fields)
        if len(steps) < min_steps:
            continue
        yield MetaRecord(
            question=question,
            images=(fields.text("image"),) if "image" in fields else (),
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
