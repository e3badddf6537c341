"""MATH-V (arXiv 2402.14804): the published answers of models to its questions, as candidates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.records import CandidateRecord
from dreamprm.formats.candidate_groups import CandidateGroups
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.image_folder import images_of
from dreamprm.formats.json_rows import json_rows, raise_errors
from dreamprm.formats.writers import write_json_lines
from dreamprm.generators.prompting import question_text

HELP = "MATH-V: published outputs of models with its questions file, as candidate records"

OtherQuestions = Literal["error", "skip"]


def read(
    path: str | Path,
    *,
    questions: str | Path | None = None,
    benchmark: str = "MATH-V",
    split: str = "paragraphs",
    other_questions: OtherQuestions = "error",
    report: ConvertReport | None = None,
) -> Iterator[CandidateRecord]:
    """Read outputs of one or several models; the answers to one question become its candidates.

    Outputs are JSON Lines with `id`, `response`, `model` (else the file's name is the generator),
    `model_answer` (the answer as the authors extracted it, in lower case and without spaces; where it is
    absent, the one that the response states) and `correct`. The questions file has `id`, `question`,
    `options`, `answer`, `image`; options are put below the question as `question_text` of
    `dreamprm.generators.prompting` writes them. An image that lies beside the questions file gets an absolute
    path, others stay as written. `level`, `subject` and `solution` are not kept.
    Source: github.com/mathllm/MATH-V, MIT.

    Args:
        path: a file of outputs, or a folder whose .jsonl files are read in the order of their names.
        questions: the benchmark's questions, `testmini.jsonl` or `test.jsonl`; required.
        benchmark: the name that the records carry.
        split: how responses are split into steps: `headings`, `paragraphs`, `sentences` or `whole`. Nearly
            none of the published outputs have headings; most are a few paragraphs.
        other_questions: an answer to a question that the questions file does not hold is an `error`, or is
            left out (`skip`).
        report: counts the answers that are left out.

    Yields:
        One record a question that has an answer, in the order of the questions file.

    Raises:
        UserError: no such file, or an option outside what is allowed.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    if questions is None:
        raise UserError("format mathv needs the questions: give questions=.../testmini.jsonl (or test.jsonl)")
    if not isinstance(benchmark, str) or not benchmark.strip():
        raise UserError(f"benchmark must be a text that is not empty; got {benchmark!r}")
    if other_questions not in ("error", "skip"):
        raise UserError(f"other_questions must be 'error' or 'skip', got {other_questions!r}")
    report = ConvertReport() if report is None else report
    groups = CandidateGroups(benchmark, split=split)
    for fields in raise_errors(json_rows(questions)):
        options = fields.texts("options") if "options" in fields else ()
        groups.add_question(
            fields.identifier(),
            question=question_text(fields.text("question"), options),
            images=tuple(_found(fields, image) for image in images_of(fields)),
            answer=_plain(fields, "answer"),
        )
    for file in _files(Path(path)):
        for fields in raise_errors(json_rows(file)):
            report.rows += 1
            id = fields.identifier()
            if id in groups:
                groups.add(
                    id,
                    fields.text("response"),
                    final_answer=fields.optional_text("model_answer"),
                    correct=fields.optional_truth("correct"),
                    generator=_generator(fields),
                )
            elif other_questions == "error":
                raise fields.error("id", f"an id of {questions} (other_questions=skip leaves others out)", id)
            else:
                report.pass_over("an answer to a question that the questions file does not hold")
    yield from groups.records()


def write(records: Iterable[CandidateRecord], path: str | Path, *, generator: str | None = None) -> None:
    """Write candidates as MATH-V outputs, JSON Lines: `id`, `model`, `response`, `model_answer`, `correct`.

    Questions, images, answers, steps and credits are not in this format: reading it back needs the questions
    file, and splits the responses anew.

    Args:
        records: candidate records.
        path: the file.
        generator: write this generator's candidates only; None: all, as the reader takes them back.

    Raises:
        DataError: a record without a candidate of that generator.
    """
    write_json_lines(path, (row for record in records for row in _rows(record, generator)))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise UserError(f"{path} holds no .jsonl file; give a file of outputs, or a folder of them")
    return files


def _found(fields: Fields, image: str) -> str:
    path = os.path.join(os.path.abspath(fields.path.parent), image)
    return path if os.path.isfile(path) else image


def _plain(fields: Fields, name: str) -> str:
    """A text, or a number as text."""
    value = fields.require(name, "a text or a number")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise fields.error(name, "a text or a number")
    return str(value)


def _generator(fields: Fields) -> str | None:
    return fields.optional_text("model") if "model" in fields.values else fields.path.stem


def _rows(record: CandidateRecord, generator: str | None) -> Iterator[dict[str, Any]]:
    chosen = [one for one in record.candidates if generator is None or one.generator == generator]
    if not chosen:
        named = ", ".join(sorted({repr(one.generator) for one in record.candidates}))
        raise DataError(f"record {record.id} has no candidate of generator {generator!r}; it has {named}")
    for one in chosen:
        yield {
            "id": record.id,
            "model": one.generator,
            "response": one.text,
            "model_answer": one.final_answer,
            "correct": one.correct,
        }
