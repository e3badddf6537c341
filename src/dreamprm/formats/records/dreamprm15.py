"""The meta files of DreamPRM-1.5: conversations with one turn a step and a right/wrong label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import MetaRecord
from dreamprm.formats.format import ConvertReport, NotChosen, RowReader, Writer
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.writers import write_json_array

_QUESTION_HEADING = "### Question:"
_INSTRUCTION = (
    "You judge the steps of a solution. The first turn holds the problem, each later turn one step."
    " Answer every step with + if the solution is right up to it, and with - if it is not."
)


@dataclass(frozen=True)
class DreamPRM15(RowReader):
    """A DreamPRM-1.5 meta file: `id`, `true_false`, `image`, `conversations` of {`from`, `value`} turns.

    A JSON array or JSON Lines. The first human turn is the question (without its "### Question:" heading),
    the other human turns are the steps. The system turn is an instruction to another model, the gpt turns are
    placeholders ("+" on every step of right and wrong answers alike), and `response` repeats the steps: none
    is kept. Image paths are kept as written; point `image_root` at the folder they start from when the result
    is read. The project's training files are of another form, which format `visualprm` reads. In the public
    MMMU-Pro file 896 of 1,656 records have a single step, often the bare answer; `min_steps=2` keeps the 760
    others.
    Source: github.com/coder-qicao/DreamPRM-1.5, arXiv 2509.05542.
    """

    kind = "meta"
    help = "DreamPRM-1.5 meta files: conversations with one turn a step, as meta records"

    min_steps: int = setting(1, "leave out records with fewer steps", minimum=1)

    def read(self, path: Path, report: ConvertReport) -> Iterator[MetaRecord]:
        """One record a row."""
        return self.records_of(path, self.record, report)

    def record(self, row: Fields) -> MetaRecord:
        """The record of one row.

        Raises:
            DataError: a bad row.
            NotChosen: it has too few steps.
        """
        question, steps = _question_and_steps(row)
        if len(steps) < self.min_steps:
            raise NotChosen(f"fewer than {self.min_steps} steps")
        return MetaRecord(
            question=question,
            images=images_of(row),
            steps=steps,
            correct=row.truth("true_false"),
            id=row.identifier(),
        )


@dataclass(frozen=True)
class DreamPRM15Writer(Writer):
    """Writes a JSON array of meta records with at least one step.

    The gpt turns are "+" throughout, as in the public file: single steps have no label there either. The
    system turn is our own wording; `response` is the steps joined by blank lines. Several images become a
    list of paths, which the public loader does not read. White space around question and steps is not kept by
    the reader.
    """

    def write(self, records: Iterable[MetaRecord], path: Path, report: ConvertReport) -> None:
        """Write all of them."""
        del report
        write_json_array(path, map(_row, records))


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
