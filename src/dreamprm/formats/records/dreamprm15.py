"""DreamPRM-1.5's meta files: conversations with one turn per step and a right/wrong label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import MetaRecord
from dreamprm.formats.embedded_images import EmbeddingReader
from dreamprm.formats.format import ConvertReport, NotChosen, Writer
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.writers import write_json_array

_QUESTION_HEADING = "### Question:"
_INSTRUCTION = (
    "You judge the steps of a solution. The first turn holds the problem, each later turn one step."
    " Answer every step with + if the solution is right up to it, and with - if it is not."
)


@dataclass(frozen=True)
class DreamPRM15(EmbeddingReader):
    """A DreamPRM-1.5 meta file: `id`, `true_false`, `image`, `conversations` of {`from`, `value`} turns.

    A JSON array or JSON Lines. The first human turn is the question (its "### Question:" heading is removed);
    the other human turns are the steps. The system turn is an instruction to another model, the gpt turns are
    placeholders ("+" on every step of right and wrong answers alike), and `response` repeats the steps; none
    of these is kept. Image paths are kept as written; set `image_root` to the folder they are relative to
    when reading the result. The project's training files have another layout, which format `visualprm` reads.
    In the public MMMU-Pro file, 896 of 1,656 records have a single step, often the bare answer; `min_steps=2`
    keeps the other 760.
    Source: github.com/coder-qicao/DreamPRM-1.5, arXiv 2509.05542.
    """

    kind = "meta"
    help = "DreamPRM-1.5 meta files: conversations with one turn per step, as meta records"
    signature = (("image", "conversations", "true_false"), ("conversations", "true_false"))

    min_steps: int = setting(1, "leave out records with fewer steps", minimum=1)

    def read(self, path: Path, report: ConvertReport) -> Iterator[MetaRecord]:
        """One record per row."""
        return self.records_with_images(path, self.record, report)

    def record(self, row: Fields) -> MetaRecord:
        """The record of one row.

        Raises:
            DataError: a bad row.
            NotChosen: the row has too few steps.
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

    All gpt turns are "+", as in the public file, where single steps have no label either. The system turn is
    worded by us; `response` is the steps joined by blank lines. Several images become a list of paths, which
    the public loader does not read. The reader strips white space around question and steps.
    """

    def write(self, records: Iterable[MetaRecord], path: Path, report: ConvertReport) -> None:
        """Write all records."""
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
        raise fields.error("conversations", "a human turn with the question and one per step", turns)
    question = human[0].removeprefix(_QUESTION_HEADING).strip()
    if not question:
        raise fields.error("conversations", "a question in the first human turn", human[0])
    return question, tuple(human[1:])


def _row(record: MetaRecord) -> dict[str, Any]:
    if not record.steps:
        raise DataError(
            f"record {record.id} has no steps, but a conversation has one turn per step; leave it out"
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
