"""MATH-V (arXiv 2402.14804): models' published answers to its questions, as candidates."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.image_paths import LEAVES, image_path
from dreamprm.data.records import CandidateRecord
from dreamprm.files.distinct import require_distinct
from dreamprm.formats.answer_fields import answer_text
from dreamprm.formats.candidate_groups import CandidateGroups
from dreamprm.formats.format import ConvertReport, NotChosen, TolerantReader, Writer, each_row
from dreamprm.formats.image_folder import images_of
from dreamprm.formats.json_rows import json_rows
from dreamprm.formats.response_fields import ResponseFields, response_fields
from dreamprm.formats.writers import write_json_lines
from dreamprm.generators.prompting import question_text

OtherQuestions = Literal["error", "skip"]


@dataclass(frozen=True)
class MathV(TolerantReader):
    """The outputs of one or several models; the answers to a question become its candidates.

    Reads one file of outputs, or a folder whose .jsonl files are read in order of their names. Outputs are
    JSON Lines with `id`, `response`, `model` (if absent, the generator is the file's name), `model_answer`
    (the answer as the authors extracted it, in lower case and without spaces; if absent, the one stated in
    the response) and `correct`. The questions file has `id`, `question`, `options`, `answer`, `image`;
    options are put below the question by `dreamprm.generators.prompting.question_text`. An image found
    relative to the questions file gets an absolute path; other paths stay as written; one that leads out of
    that folder is refused. `level`, `subject` and `solution` are not kept. Records are in the order of the
    questions file, one per question that has an answer. Hardly any of the published outputs have headings;
    most are a few paragraphs.
    Source: github.com/mathllm/MATH-V, MIT.
    """

    kind = "candidate"
    help = "MATH-V: models' published outputs, with the questions file, as candidate records"
    signature = (("response", "model_answer", "correct"),)

    questions: Path | None = setting(
        None, "the benchmark's questions file, testmini.jsonl or test.jsonl; required"
    )
    benchmark: str = setting("MATH-V", "the `benchmark` of the records")
    split: str = setting(
        "auto",
        "how responses are split into steps; auto: at headings where there are several, else into paragraphs",
        choices=SPLITS,
    )
    other_questions: OtherQuestions = setting(
        "error",
        "what to do with an answer to a question that is not in the questions file: error, or skip",
        choices=("error", "skip"),
    )

    allow_outside: bool = setting(
        False,
        "accept image paths that lead out of the questions file's folder (absolute, by .. or by a link)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.questions is None:
            raise UserError(
                "format mathv needs the questions: give questions=.../testmini.jsonl (or test.jsonl)"
            )

    def _found(self, fields: Fields, image: str) -> str:
        folder = str(fields.path.parent)
        path, outside = image_path(folder, image, allow_outside=self.allow_outside)
        if outside is not None:
            raise fields.error("image", f"an image inside its folder (this {outside}; {LEAVES})", image)
        return path if os.path.isfile(path) else image

    def read(self, path: Path, report: ConvertReport) -> Iterator[CandidateRecord]:
        """One record per question."""
        assert self.questions is not None
        groups = CandidateGroups(self.benchmark, split=self.split, steps=report.steps)
        left_out: set[str] = set()

        def add_question(fields: Fields) -> None:
            options = fields.texts("options") if "options" in fields else ()
            groups.add_question(
                fields.identifier(),
                question=question_text(fields.text("question"), options),
                images=tuple(self._found(fields, image) for image in images_of(fields)),
                answer=answer_text(fields, "answer"),
            )

        def question(fields: Fields) -> None:
            try:
                add_question(fields)
            except DataError:
                left_out.add(str(fields.values.get("id")))
                raise

        def answer(fields: Fields) -> None:
            id = fields.identifier()
            if id in groups:
                texts = response_fields(fields)
                fields.text(texts.field)  # raises if it is none, or empty
                groups.add(
                    id,
                    texts.text,
                    final_answer=_extracted(fields, texts),
                    correct=fields.optional_truth("correct"),
                    generator=_generator(fields),
                    stated_in=texts.response,
                    file=str(fields.path),
                )
            elif id in left_out:
                raise NotChosen("an answer to a question that was left out")
            elif self.other_questions == "error":
                allowed = f"an id of {self.questions} (other_questions=skip leaves others out)"
                raise fields.error("id", allowed, id)
            else:
                raise NotChosen("an answer to a question that is not in the questions file")

        files = _files(path)
        require_distinct([self.questions, *files], "questions and outputs")
        asked = ConvertReport()
        rows = each_row(json_rows(self.questions), question, asked, self.tolerance, self.questions)
        deque(rows, maxlen=0)
        report.left_out += asked.left_out
        for file in files:
            deque(each_row(json_rows(file), answer, report, self.tolerance, file), maxlen=0)
        report.bad += asked.bad
        yield from groups.records()


@dataclass(frozen=True)
class MathVWriter(Writer):
    """Writes MATH-V outputs, JSON Lines: `id`, `model`, `response`, `model_answer`, `correct`.

    This format has no questions, images, answers, steps or credits: reading it back needs the questions file,
    and splits the responses again.
    """

    generator: str | None = setting(
        None, "write only this generator's candidates; null: all of them, which the reader can read back"
    )

    def write(self, records: Iterable[CandidateRecord], path: Path, report: ConvertReport) -> None:
        """Write the candidates selected by the options."""
        del report
        write_json_lines(path, (row for record in records for row in _rows(record, self.generator)))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise UserError(f"{path} holds no .jsonl file; give an outputs file, or a folder of them")
    return files


def _extracted(fields: Fields, texts: ResponseFields) -> str | None:
    """The extracted answer; "" where the file says that there is none in the response."""
    if texts.extracted is None and texts.field != "model_answer":
        return fields.optional_text("model_answer")
    return texts.extracted


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
