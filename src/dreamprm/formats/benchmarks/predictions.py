"""Prediction files of VLMEvalKit or the benchmarks: which model answered what to which question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import UserError
from dreamprm.data.fields import Fields
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.published_questions import MEMBER, question_rows
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.json_rows import is_object, json_rows, raise_errors
from dreamprm.formats.table_files import cell_text, read_cells

Sources = str | Path | Sequence[str | Path] | Mapping[str, str | Path]
OtherQuestions = Literal["error", "skip"]

_ENDINGS = (".jsonl", ".json", ".xlsx", ".tsv")
_RESPONSES = ("prediction", "response")
_EXTRACTED = ("extraction", "model_answer", "res", "extracted")
_FLAGS = ("true_false", "correct", "hit", "score")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One response to one question.

    Attributes:
        question: the question that was asked.
        generator: the model that answered.
        response: the text; "" if the model gave none.
        extracted: the answer from the benchmark's own extraction, if the file has it.
        outcome: the file's flag or grade, in [0, 1]; None if it has none.
        row: the row of the file.
    """

    question: BenchmarkQuestion
    generator: str
    response: str
    extracted: str | None
    outcome: float | None
    row: Fields


def read_predictions(
    benchmark: Benchmark,
    sources: Sources,
    questions: QuestionSet,
    *,
    other_questions: OtherQuestions = "error",
) -> Iterator[Prediction]:
    """Read the responses of one or several models, or of several samples.

    A file is JSON Lines, a JSON array, a JSON object of rows or of responses by id, or VLMEvalKit's table
    (.xlsx, .tsv, or .json). A folder holds one file per model, or has MMMU's layout: subject folders, each
    with an `output.json`, which together are one model's. The response is in `prediction` (preceded by
    `thinking`) or `response`.

    A row's question is identified by the benchmark's id if the row has one, else by VLMEvalKit's `index`, for
    which `questions` must be read from VLMEvalKit's table. The generator is the row's `model`, else for
    VLMEvalKit's files the part of their name before "_BENCHMARK", else the file's or folder's name.

    Args:
        benchmark: the benchmark.
        sources: a path, several paths, or paths by generator name.
        questions: the questions that may be answered.
        other_questions: a response to a question that is not among them is an `error`, or is left out
            (`skip`), for instance if a model answered the whole test set, but the questions are those of
            testmini.

    Raises:
        UserError: no such file, a folder without predictions, or a bad option.
        DataError: a bad row; the message names file, line, field, value and what is allowed.
    """
    if other_questions not in ("error", "skip"):
        raise UserError(f"other_questions must be 'error' or 'skip', got {other_questions!r}")
    for generator, path in _files(benchmark, sources):
        for row in _rows(path):
            question = _asked(benchmark, row, questions, other_questions)
            if question is None:
                continue
            named = None if generator is not None else row.optional_text("model")
            yield Prediction(
                question=question,
                generator=generator or named or _generator(benchmark, path),
                response=_response(row),
                extracted=next((text for name in _EXTRACTED if (text := cell_text(row, name))), None),
                outcome=_outcome(row),
                row=row,
            )


def _files(benchmark: Benchmark, sources: Sources) -> Iterator[tuple[str | None, Path]]:
    """Files, each with the name of its generator unless the file itself determines it."""
    if isinstance(sources, str | Path):
        sources = [sources]
    named: list[tuple[str | None, str | Path]] = (
        list(sources.items()) if isinstance(sources, Mapping) else [(None, source) for source in sources]
    )
    if not named:
        raise UserError("no prediction file; give at least one path")
    for generator, source in named:
        path = Path(source)
        if path.is_file():
            yield generator, path
        elif not path.is_dir():
            raise UserError(f"no such file or folder: {path}; give predictions of {benchmark.title}")
        elif subjects := sorted(path.glob("*/output.json")):
            yield from ((generator or path.name, subject) for subject in subjects)
        else:
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in _ENDINGS)
            if not files:
                raise UserError(
                    f"{path} holds no predictions; allowed: files ending in "
                    f"{', '.join(_ENDINGS)}, or subject folders with output.json"
                )
            yield from ((generator, file) for file in files)


def _generator(benchmark: Benchmark, path: Path) -> str:
    # Try the longest name first: MathVision_MINI, then MathVision.
    for name in sorted(benchmark.vlmevalkit, key=len, reverse=True):
        model = path.stem.rpartition(f"_{name}")[0]
        if model:
            return model
    return path.stem


def _rows(path: Path) -> Iterator[Fields]:
    suffix = path.suffix.lower()
    if is_object(path):
        yield from question_rows(path)
    elif suffix in (".xlsx", ".tsv", ".json"):
        yield from read_cells(path)
    elif suffix == ".jsonl":
        yield from raise_errors(json_rows(path))
    else:
        raise UserError(f"{path}: unknown ending {suffix!r}; allowed: {', '.join(_ENDINGS)}")


def _asked(
    benchmark: Benchmark, row: Fields, questions: QuestionSet, other_questions: OtherQuestions
) -> BenchmarkQuestion | None:
    published = benchmark.published_id(row) or cell_text(row, MEMBER)
    index = cell_text(row, "index")
    found = questions.published(published) if published is not None else None
    if found is None and index is not None:
        found = questions.at_index(index) or (questions.published(index) if published is None else None)
    if found is not None or other_questions == "skip" and (published or index):
        return found
    name = next((name for name in (*benchmark.id_fields, MEMBER, "index") if name in row), "index")
    if published is None and index is None:
        allowed = f"the question's id as {benchmark.title} publishes it, or index"
        raise row.missing(benchmark.id_fields[0], allowed)
    raise row.error(
        name,
        f"the id of one of the {len(questions)} questions (other_questions=skip leaves out others); an "
        "index refers to questions read from VLMEvalKit's .tsv",
    )


def _response(row: Fields) -> str:
    name = next((name for name in _RESPONSES if name in row.values), None)
    if name is None:
        raise row.missing(" or ".join(_RESPONSES), "the model's response")
    response, thinking = cell_text(row, name) or "", cell_text(row, "thinking")
    return response if thinking is None else f"{thinking}\n\n{response}"


def _outcome(row: Fields) -> float | None:
    for name in _FLAGS:
        if name not in row:
            continue
        value: Any = row.values[name]
        words = {"true": 1.0, "false": 0.0}
        try:
            number = words.get(str(value).strip().lower())
            number = float(value) if number is None else number
        except (TypeError, ValueError):
            raise row.error(name, "true, false, or a number in [0, 1]") from None
        if not 0 <= number <= 1:
            raise row.error(name, "true, false, or a number in [0, 1]")
        return number
    return None
