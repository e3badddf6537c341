"""MR-Ben (arXiv 2406.13975): models' solutions in six subjects with their first error step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields, shown
from dreamprm.data.json_members import stream_members
from dreamprm.data.json_stream import Row
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.json_rows import as_fields, json_rows
from dreamprm.formats.option_checks import optional_name
from dreamprm.formats.records.first_error_labels import first_error_labels, first_wrong_step, without_blank
from dreamprm.formats.records.mr_ben_steps import ErrorPlaces, code_steps, numbered_steps
from dreamprm.formats.records.right_or_wrong import DropImages, RightOrWrong, Unlabelled, text_only
from dreamprm.formats.row_files import domain_of, records_of

HELP = "MR-Ben: solutions labelled with their first error step, as step records"

_NONE = "N/A"
_PREFIX = "Model_Solution_"


def read(
    path: str | Path,
    *,
    domain: str | None = None,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[StepRecord]:
    """Read an MR-Ben file: an object of lists of solutions by question, or one solution a row.

    Read are `Question`, `Options` (put below the question), `Sampled_Model`, `Model_Solution_Steps`,
    `Model_Solution_Correctness` (`correct`, `incorrect`) and `Model_Solution_First_Error_Step` (`N/A` where
    correct). A step's label is 1 before the first error and 0 from it on (`first_error_labels`). What the
    number of the error step counts, and what is done where it cannot be placed, is told in `mr_ben_steps`:
    the steps between which the error must lie are null. The answers, the annotators' reasons and their
    rectified steps are not kept. Published as Randolphzeng/Mr-Ben, MIT.

    Args:
        path: a JSON object, a JSON array or a JSON Lines file of any size.
        domain: the domain of its records; None for the file's name without its ending.
        on_error, max_bad_fraction, report: as in `read_step_records`.

    Yields:
        One record a solution, in the file's order; its id is `Question_UUID/Sampled_Model`.

    Raises:
        UserError: no such file.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    optional_name("domain", domain)
    tolerance = Tolerance(on_error, max_bad_fraction)
    rows = _rows(Path(path))
    return records_of(rows, lambda row: _record(row, domain), path=path, tolerance=tolerance, report=report)


def write(
    records: Iterable[StepRecord],
    path: str | Path,
    *,
    threshold: float | None = None,
    unlabelled: Unlabelled = "error",
    images: DropImages = "error",
    report: ConvertReport | None = None,
) -> None:
    """Write step records as an MR-Ben file: an object of lists of solutions by question.

    A record's id is taken apart at its first "/" into `Question_UUID` and `Sampled_Model`. Records of one
    question must follow one another. Options stay in `Question`; the answers, reasons and rectified steps are
    "", since our records do not know them. Numbers of rollouts are not kept; `domain` is added. A record that
    is known to be wrong but not where (null, ..., null, 0) is written with "" as its error step, as the
    published coding file does.

    Args:
        records, path, threshold, unlabelled, images, report: as of `processbench.write`.

    Raises:
        UserError, DataError: as `processbench.write`; DataError too for a record whose steps have headings
            that do not count them, so that the number of the error step would be read differently, and for a
            question that comes again later.
    """
    rule = RightOrWrong(threshold, unlabelled)
    kept = rule.labelled(text_only(records, images), report, held=_is_unplaced)
    written: set[str] = set()
    with Path(path).open("w", encoding="utf-8") as file:
        separator = "{\n"
        for question, group in groupby(kept, key=lambda record: record.id.partition("/")[0]):
            if question in written:
                raise DataError(
                    f"question {question} comes again after others; MR-Ben lists the solutions of a question"
                    " together: sort the records by id"
                )
            written.add(question)
            rows = [_row(record, rule) for record in group]
            file.write(f"{separator}{json.dumps(question, ensure_ascii=False)}: ")
            file.write(json.dumps(rows, ensure_ascii=False, indent=1))
            separator = ",\n"
        file.write("{}\n" if separator == "{\n" else "\n}\n")


def _record(fields: Fields, domain: str | None) -> StepRecord:
    steps, labels = _judged_steps(fields)
    return StepRecord(
        question=_question(fields),
        images=(),
        domain=domain_of(fields, domain),
        steps=steps,
        labels=labels,
        rollouts=(None,) * len(steps),
        id=_identifier(fields),
    )


def _rows(path: Path) -> Iterator[Fields | DataError]:
    if not _is_by_question(path):
        yield from json_rows(path)
        return
    for question, member in stream_members(path):
        if not isinstance(member.value, list):
            yield DataError(
                f"{path}:{member.line}: member {question!r}: got {shown(member.value)};"
                " allowed: a list of solutions"
            )
            continue
        for index, value in enumerate(member.value):
            row = Row(member.line, value)
            yield from as_fields([row], path, prefix=f"{question}[{index}].")


def _is_by_question(path: Path) -> bool:
    """Whether the file is one object of lists; else it is an array or JSON Lines."""
    try:
        first = next(stream_members(path), None)
    except DataError:
        return False  # no object, or a broken one: the reader of rows says what is wrong
    return first is None or isinstance(first[1].value, list)


def _judged_steps(fields: Fields) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    allowed = "a list of texts, or the lines of a program as one text; not empty"
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
    if not isinstance(named, str) or not (is_code or not named or named.isdecimal() and int(named) >= 1):
        raise fields.error(f"{_PREFIX}First_Error_Step", allowed)
    return places.of(named)


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


def _row(record: StepRecord, rule: RightOrWrong) -> dict[str, Any]:
    question, _, model = record.id.partition("/")
    first = "" if _is_unplaced(record) else first_wrong_step(record, rule)
    number = _NONE if first is None else first if isinstance(first, str) else str(first + 1)
    steps, places = numbered_steps(list(record.steps))
    if steps != record.steps or isinstance(first, int) and places.of(number) != (first,):
        raise DataError(
            f"record {record.id}: its steps have 'Step k' headings that do not count them"
            f" ({', '.join(repr(step[:20]) for step in record.steps[:4])}, ...), and MR-Ben names the error"
            " step by its heading; remove or mend the headings"
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
