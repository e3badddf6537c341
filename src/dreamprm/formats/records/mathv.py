"""MATH-V (arXiv 2402.14804): the published answers of models to its questions, as candidates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import CandidateRecord
from dreamprm.formats.answer_fields import answer_text
from dreamprm.formats.candidate_groups import CandidateGroups
from dreamprm.formats.format import ConvertReport, Reader, Writer
from dreamprm.formats.image_folder import images_of
from dreamprm.formats.json_rows import json_rows, raise_errors
from dreamprm.formats.writers import write_json_lines
from dreamprm.generators.prompting import question_text

OtherQuestions = Literal["error", "skip"]


@dataclass(frozen=True)
class MathV(Reader):
    """Outputs of one or several models; the answers to one question become its candidates.

    A file of outputs, or a folder whose .jsonl files are read in the order of their names. Outputs are JSON
    Lines with `id`, `response`, `model` (else the file's name is the generator), `model_answer` (the answer
    as the authors extracted it, in lower case and without spaces; where it is absent, the one that the
    response states) and `correct`. The questions file has `id`, `question`, `options`, `answer`, `image`;
    options are put below the question as `question_text` of `dreamprm.generators.prompting` writes them. An
    image that lies beside the questions file gets an absolute path, others stay as written. `level`,
    `subject` and `solution` are not kept. Records come in the order of the questions file, one for each
    question that has an answer. Nearly none of the published outputs have headings; most are a few
    paragraphs.
    Source: github.com/mathllm/MATH-V, MIT.
    """

    kind = "candidate"
    help = "MATH-V: published outputs of models with its questions file, as candidate records"

    questions: Path | None = setting(
        None, "the benchmark's questions, testmini.jsonl or test.jsonl; must be given"
    )
    benchmark: str = setting("MATH-V", "the name that the records carry")
    split: str = setting("paragraphs", "how responses are split into steps", choices=SPLITS)
    other_questions: OtherQuestions = setting(
        "error",
        "an answer to a question that the questions file does not hold is an error, or is left out (skip)",
        choices=("error", "skip"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.questions is None:
            raise UserError(
                "format mathv needs the questions: give questions=.../testmini.jsonl (or test.jsonl)"
            )

    def read(self, path: Path, report: ConvertReport) -> Iterator[CandidateRecord]:
        """One record a question."""
        assert self.questions is not None
        groups = CandidateGroups(self.benchmark, split=self.split)
        for fields in raise_errors(json_rows(self.questions)):
            options = fields.texts("options") if "options" in fields else ()
            groups.add_question(
                fields.identifier(),
                question=question_text(fields.text("question"), options),
                images=tuple(_found(fields, image) for image in images_of(fields)),
                answer=answer_text(fields, "answer"),
            )
        for file in _files(path):
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
                elif self.other_questions == "error":
                    allowed = f"an id of {self.questions} (other_questions=skip leaves others out)"
                    raise fields.error("id", allowed, id)
                else:
                    report.pass_over("an answer to a question that the questions file does not hold")
        yield from groups.records()


@dataclass(frozen=True)
class MathVWriter(Writer):
    """Writes MATH-V outputs, JSON Lines: `id`, `model`, `response`, `model_answer`, `correct`.

    Questions, images, answers, steps and credits are not in this format: reading it back needs the questions
    file, and splits the responses anew.
    """

    generator: str | None = setting(
        None, "write this generator's candidates only; null: all, as the reader takes them back"
    )

    def write(self, records: Iterable[CandidateRecord], path: Path, report: ConvertReport) -> None:
        """Write the candidates that the options choose."""
        del report
        write_json_lines(path, (row for record in records for row in _rows(record, self.generator)))


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
