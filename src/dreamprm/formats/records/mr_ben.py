"""MR-Ben (arXiv 2406.13975): models' solutions in six subjects, with the first error step of each.

How solutions are divided into steps, and which step the number (or the line) of the first error refers to:
the published lists hold *lines*, and `Model_Solution_First_Error_Step` is the number in a line's "Step k"
heading, which is not always the line's position in the list. In 502 of the 2,572 wrong solutions of the five
subjects with headings the two differ, because steps span several lines or have blank lines between them. The
annotators' own step ("Model_Solution_Rectified_First_Error_Step") shows that the heading is meant: among the
807 wrong solutions whose headings do not count the lines, it carries the same number in 801. Therefore:

- If every line "Step k" is the k-th of the list, or no line has a heading, each line is a step and the number
  is its position (a last line "Solution: ..." counts as a step).
- Otherwise a step extends from its heading to the next one, a line "Solution: ..." is a step of its own, and
  the number is the heading's. If several headings have that number (choices examined one by one, each
  starting at "Step 1"), the error may be in any of them.
- A program's steps are its lines. The error is given as the text of a line, which may occur several times.
- If nothing matches (no such number, no such line, a blank), the error may be in any step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import Row, stream_members
from dreamprm.data.records import StepRecord
from dreamprm.files.json_values import shown
from dreamprm.formats.json_rows import as_fields, json_rows
from dreamprm.formats.records.first_errors import FirstErrorWriter, first_error_labels, without_blank
from dreamprm.formats.records.step_format import StepReader

_NONE = "N/A"
_PREFIX = "Model_Solution_"
_HEADING = re.compile(r"\s*step\s+(\d+)", re.IGNORECASE)
_SOLUTION = re.compile(r"\s*solution\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class MRBen(StepReader):
    """An MR-Ben file: an object that maps questions to lists of solutions, or one solution per row.

    Reads `Question`, `Options` (put below the question), `Sampled_Model`, `Model_Solution_Steps`,
    `Model_Solution_Correctness` (`correct`, `incorrect`) and `Model_Solution_First_Error_Step` (`N/A` if
    correct). A step's label is 1 before the first error and 0 from it on (`first_error_labels`); if the error
    may be in several steps, the labels between them are null. The answers, the annotators' reasons and their
    rectified steps are not kept. A record's id is `Question_UUID/Sampled_Model`. Published as
    Randolphzeng/Mr-Ben, MIT.
    """

    help = "MR-Ben: solutions labelled with their first error step, as step records"
    signature = ((f"{_PREFIX}Steps", f"{_PREFIX}Correctness", f"{_PREFIX}First_Error_Step"),)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per solution."""
        if not _is_by_question(path):
            yield from json_rows(path)
            return
        for question, member in stream_members(path):
            if member.problem is not None:
                yield DataError(f"{path}:{member.line}: member {shown(question)}: {member.problem}")
                continue
            if not isinstance(member.value, list):
                yield DataError(
                    f"{path}:{member.line}: member {question!r}: got {shown(member.value)};"
                    " allowed: a list of solutions"
                )
                continue
            for index, value in enumerate(member.value):
                row = Row(member.line, value)
                yield from as_fields([row], path, prefix=f"{question}[{index}].")

    def record(self, row: Fields) -> StepRecord:
        """The record of one solution."""
        steps, labels = _judged_steps(row)
        return self.step_record(row, question=_question(row), steps=steps, labels=labels, id=_identifier(row))


@dataclass(frozen=True)
class MRBenWriter(FirstErrorWriter):
    """Writes an object that maps questions to lists of solutions.

    A record's id is split at its first "/" into `Question_UUID` and `Sampled_Model`. Records of one question
    must be consecutive. Options stay in `Question`; the answers, reasons and rectified steps are "", since
    our records do not have them. A record known to be wrong, but not where (null, ..., null, 0), is written
    with "" as its error step, as in the published coding file. A record whose steps have headings that do not
    count them is an error, since the number of the error step would be misread.
    """

    def holds_null(self, record: StepRecord) -> bool:
        """Whether the record is known to be wrong, but not where."""
        return _is_unplaced(record)

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one solution."""
        question, slash, model = record.id.partition("/")
        if not question or slash and not model:
            raise DataError(
                f"record {record.id!r}: its id is split at the first '/' into a question and a model, one of "
                "which is empty; give ids such as 'question' or 'question/model'"
            )
        first = "" if _is_unplaced(record) else self.first_wrong_step(record)
        number = _NONE if first is None else first if isinstance(first, str) else str(first + 1)
        steps, places = numbered_steps(list(record.steps))
        if steps != record.steps or isinstance(first, int) and places.of(number) != (first,):
            raise DataError(
                f"record {record.id}: its steps have 'Step k' headings that do not count them"
                f" ({', '.join(repr(step[:20]) for step in record.steps[:4])}, ...), but MR-Ben names the"
                " error step by its heading; remove or correct the headings"
            )
        return {
            "Question_UUID": question,
            "Subject": record.domain,
            "Question": record.question,
            "Options": "",
            "Ground_Truth_Analysis": "",
            "Ground_Truth_Answer": "",
            "Ground_Truth_Answer_Modified": "",
            "Sampled_Model": model,
            "Model_Solution_Steps": list(record.steps),
            "Model_Solution_Correctness": "correct" if first is None else "incorrect",
            "Model_Solution_First_Error_Step": number,
            "Model_Solution_Error_Reason": "",
            "Model_Solution_Rectified_First_Error_Step": "",
            "domain": record.domain,
        }

    def write_rows(self, path: Path, rows: Iterator[dict[str, Any]]) -> None:
        """Write one object with one member per question."""
        written: set[str] = set()
        with path.open("w", encoding="utf-8") as file:
            separator = "{\n"
            for question, group in groupby(rows, key=lambda row: str(row["Question_UUID"])):
                if question in written:
                    raise DataError(
                        f"question {question} appears again after other questions, but MR-Ben lists the"
                        " solutions of a question together; sort the records by id"
                    )
                written.add(question)
                file.write(f"{separator}{json.dumps(question, ensure_ascii=False)}: ")
                file.write(json.dumps(list(group), ensure_ascii=False, indent=1))
                separator = ",\n"
            file.write("{}\n" if separator == "{\n" else "\n}\n")


def _is_by_question(path: Path) -> bool:
    """Whether the file is a single object of lists; otherwise it is an array or JSON Lines."""
    try:
        first = next(stream_members(path), None)
    except DataError:
        return False  # not an object, or a broken one: the row reader reports what is wrong
    return first is None or isinstance(first[1].value, list)


def _judged_steps(fields: Fields) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    allowed = "a non-empty list of texts, or the lines of a program as one text"
    given = fields.require(f"{_PREFIX}Steps", allowed)
    is_code = isinstance(given, str)
    lines = given.split("\n") if is_code else given
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise fields.error(f"{_PREFIX}Steps", allowed)
    if not any(line.strip() for line in lines):
        raise fields.error(f"{_PREFIX}Steps", allowed)
    steps, places = (code_steps if is_code else numbered_steps)(lines)
    kept, moved = without_blank(steps)
    if _is_correct(fields):
        return kept, first_error_labels(len(kept), None)
    possible = _possible_places(fields, places, is_code)
    return kept, first_error_labels(len(kept), None, possible=[moved[place] for place in possible])


def _is_correct(fields: Fields) -> bool:
    judgement = fields.text(f"{_PREFIX}Correctness")
    if judgement not in ("correct", "incorrect"):
        raise fields.error(f"{_PREFIX}Correctness", "'correct' or 'incorrect'")
    if (judgement == "correct") != (fields.values.get(f"{_PREFIX}First_Error_Step") == _NONE):
        raise fields.error(
            f"{_PREFIX}First_Error_Step", f"'{_NONE}' for a correct solution, and only for one"
        )
    return judgement == "correct"


def _possible_places(fields: Fields, places: ErrorPlaces, is_code: bool) -> tuple[int, ...]:
    allowed = "a line of the program, or ''" if is_code else "the number of a step as a text, from '1', or ''"
    named = fields.values.get(f"{_PREFIX}First_Error_Step")
    if not isinstance(named, str) or not (is_code or not named or _is_number(named)):
        raise fields.error(f"{_PREFIX}First_Error_Step", allowed)
    return places.of(named)


def _is_number(text: str) -> bool:
    """Whether a text is a number from 1 on, of as many digits as a step can have."""
    return text.isdecimal() and len(text) < 20 and int(text) >= 1


def _question(fields: Fields) -> str:
    question, options = fields.text("Question"), fields.optional_text("Options")
    return f"{question}\n{options}" if options else question


def _identifier(fields: Fields) -> str:
    question, model = fields.optional_text("Question_UUID"), fields.optional_text("Sampled_Model")
    if not question:
        return fields.identifier()
    return f"{question}/{model}" if model else question


def _is_unplaced(record: StepRecord) -> bool:
    return len(record.labels) > 1 and record.labels == (*(None,) * (len(record.labels) - 1), 0.0)


@dataclass(frozen=True)
class ErrorPlaces:
    """The possible positions of the first error, by the name that the file gives it."""

    steps: int
    by_name: Mapping[str, tuple[int, ...]]

    def of(self, name: str) -> tuple[int, ...]:
        """The indices of the steps that `name` may refer to; all steps if it matches none."""
        return self.by_name.get(name) or tuple(range(self.steps))


def numbered_steps(lines: Sequence[str]) -> tuple[tuple[str, ...], ErrorPlaces]:
    """The steps of a solution given as lines, and the positions that an error number refers to.

    Returns:
        The steps, which keep every line except blank ones at the end of a step, and the positions of the
        numbers "1", "2", ...
    """
    headings = [_heading(line) for line in lines]
    if all(heading is None or heading == place for place, heading in enumerate(headings, start=1)):
        return tuple(lines), ErrorPlaces(len(lines), {str(k + 1): (k,) for k in range(len(lines))})
    starts = [
        index for index, line in enumerate(lines) if headings[index] is not None or _SOLUTION.match(line)
    ]
    numbers = [headings[start] for start in starts]
    if starts[0] > 0 and numbers[0] == 1:
        starts[0] = 0  # text before "Step 1" belongs to it
    elif starts[0] > 0:
        # One solution begins "tep 1:", and its second heading is "Step 2".
        starts.insert(0, 0)
        numbers.insert(0, 1 if numbers[0] == 2 else None)
    bounds = zip(starts, [*starts[1:], len(lines)], strict=True)
    steps = tuple("\n".join(lines[begin:end]).strip() for begin, end in bounds)
    places: dict[str, tuple[int, ...]] = {}
    for step, number in enumerate(numbers):
        if number is not None:
            places[str(number)] = (*places.get(str(number), ()), step)
    return steps, ErrorPlaces(len(steps), places)


def code_steps(lines: Sequence[str]) -> tuple[tuple[str, ...], ErrorPlaces]:
    """The lines of a program as steps, and the positions of each line's text."""
    places: dict[str, tuple[int, ...]] = {}
    for index, line in enumerate(lines):
        if line.strip():
            places[line] = (*places.get(line, ()), index)
    return tuple(lines), ErrorPlaces(len(lines), places)


def _heading(line: str) -> int | None:
    match = _HEADING.match(line)
    return int(match[1]) if match and len(match[1]) < 5 else None
