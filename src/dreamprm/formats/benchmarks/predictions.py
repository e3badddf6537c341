"""Prediction files of VLMEvalKit or the benchmarks: which model answered what to which question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import Tolerance
from dreamprm.files.distinct import require_distinct
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.published_questions import MEMBER, question_rows
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.format import ConvertReport, NotChosen, each_row
from dreamprm.formats.json_rows import is_object, json_rows
from dreamprm.formats.response_fields import FLAGS, WHOLE, response_fields, samples
from dreamprm.formats.table_files import cell_rows, cell_text

Sources = str | Path | Sequence[str | Path] | Mapping[str, str | Path]
OtherQuestions = Literal["error", "skip"]

_ENDINGS = (".jsonl", ".json", ".xlsx", ".tsv", ".csv")


class PredictionReport(ConvertReport):
    """What was read from one file, and which of its fields were taken as what.

    Attributes:
        fields: how many rows have their response in one field and the extracted answer in another (or None).
    """

    def __init__(self) -> None:
        super().__init__()
        self.fields: Counter[tuple[str, str | None]] = Counter()

    def lines(self, shown: int = 10) -> list[str]:
        """The lines to print: what was left out, and the fields if the file has more than the response."""
        lines = super().lines(shown)
        if any(extracted is not None for _, extracted in self.fields) or len(self.fields) > 1:
            taken = (
                f"{count:,} from '{whole}'" + (f" (extracted answer: '{extracted}')" if extracted else "")
                for (whole, extracted), count in self.fields.most_common()
            )
            lines.append(f"whole responses: {', '.join(taken)}")
        return lines


@dataclass(frozen=True, slots=True)
class Prediction:
    """One response to one question.

    Attributes:
        question: the question that was asked.
        generator: the model that answered.
        file: the path of the file.
        response: the whole response, which is judged; "" if the model gave none.
        text: the same, preceded by the row's `thinking` if it has any.
        extracted: the answer from the benchmark's own extraction, if the file has it.
        outcome: the file's flag or grade, in [0, 1]; None if it has none.
        row: the row of the file.
    """

    question: BenchmarkQuestion
    generator: str
    file: str
    response: str
    text: str
    extracted: str | None
    outcome: float | None
    row: Fields


def read_predictions(
    benchmark: Benchmark,
    sources: Sources,
    questions: QuestionSet,
    *,
    other_questions: OtherQuestions = "error",
    response_field: str | None = None,
    tolerance: Tolerance | None = None,
    reports: dict[str, PredictionReport] | None = None,
    require: Callable[[Prediction], None] | None = None,
) -> Iterator[Prediction]:
    """Read the responses of one or several models, or of several samples.

    A file is JSON Lines, a JSON array, a JSON object of rows or of responses by id, or VLMEvalKit's table
    (.xlsx, .tsv, .csv or .json). A row with a list of responses (URSA's files) counts as one row for each. A
    folder holds one file per model, or has MMMU's layout: subject folders, each with an `output.json`, which
    together are one model's. The response is in `response` or `prediction` (preceded by `thinking`); which of
    several fields it is, `response_fields` says.

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
        response_field: the field that holds the response; None: as `response_fields` finds it.
        tolerance: whether bad rows stop the reading; None: the first one does.
        reports: filled in while reading, by the file's path.
        require: a further check of a row; raises `DataError` for a bad one.

    Raises:
        UserError: no such file, the same file twice, a folder without predictions, or a bad option.
        DataError: a bad row; the message names file, line, field, value and what is allowed.
    """
    if other_questions not in ("error", "skip"):
        raise UserError(f"other_questions must be 'error' or 'skip', got {other_questions!r}")
    files = list(_files(benchmark, sources))
    require_distinct([path for _, path in files], "predictions")
    for generator, path in files:
        report = PredictionReport()
        if reports is not None:
            reports[str(path)] = report
        read = _PredictionRow(
            benchmark, questions, other_questions, response_field, generator, path, report, require
        )
        yield from each_row(samples(_rows(path)), read, report, tolerance or Tolerance(), path)


@dataclass(frozen=True)
class _PredictionRow:
    """Makes the prediction of one row of a file."""

    benchmark: Benchmark
    questions: QuestionSet
    other_questions: OtherQuestions
    response_field: str | None
    generator: str | None
    path: Path
    report: PredictionReport
    require: Callable[[Prediction], None] | None

    def __call__(self, row: Fields) -> Prediction:
        question = _asked(self.benchmark, row, self.questions, self.other_questions)
        texts = response_fields(row, field=self.response_field, options=question.record.options)
        named = None if self.generator is not None else row.optional_text("model")
        made = Prediction(
            question=question,
            generator=self.generator or named or _generator(self.benchmark, self.path),
            file=str(self.path),
            response=texts.response,
            text=texts.text if texts.response.strip() else texts.thinking or "",
            extracted=texts.extracted,
            outcome=_outcome(row),
            row=row,
        )
        if self.require is not None:
            self.require(made)
        self.report.fields[texts.field, texts.extracted_field] += 1
        return made


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
            files = [file for file in files if file.suffix.lower() != ".csv" or _has_responses(file)]
            if not files:
                raise UserError(
                    f"{path} holds no predictions; allowed: files ending in "
                    f"{', '.join(_ENDINGS)}, or subject folders with output.json"
                )
            yield from ((generator, file) for file in files)


def _has_responses(table: Path) -> bool:
    """Whether a .csv file in a folder holds responses; VLMEvalKit puts tables of figures next to them."""
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        names = {name.strip().strip('"') for name in file.readline().split(",")}
    return not names.isdisjoint(WHOLE)


def _generator(benchmark: Benchmark, path: Path) -> str:
    # Try the longest name first: MathVision_MINI, then MathVision.
    for name in sorted(benchmark.vlmevalkit, key=len, reverse=True):
        model = path.stem.rpartition(f"_{name}")[0]
        if model:
            return model
    return path.stem


def _rows(path: Path) -> Iterator[Fields | DataError]:
    suffix = path.suffix.lower()
    if is_object(path):
        yield from question_rows(path)
    elif suffix in (".xlsx", ".tsv", ".csv", ".json"):
        yield from cell_rows(path)
    elif suffix == ".jsonl":
        yield from json_rows(path)
    else:
        raise UserError(f"{path}: unknown ending {suffix!r}; allowed: {', '.join(_ENDINGS)}")


def _asked(
    benchmark: Benchmark, row: Fields, questions: QuestionSet, other_questions: OtherQuestions
) -> BenchmarkQuestion:
    """The question of a row.

    Raises:
        NotChosen: it is not among the questions, and such rows are left out.
        DataError: it is not among them, or the row does not say which it is.
    """
    published = benchmark.published_id(row) or cell_text(row, MEMBER)
    index = cell_text(row, "index")
    found = questions.published(published) if published is not None else None
    if found is None and index is not None:
        found = questions.at_index(index) or (questions.published(index) if published is None else None)
    if found is not None:
        return found
    if published in questions.left_out or index in questions.left_out:
        raise NotChosen("an answer to a question that was left out")
    if other_questions == "skip" and (published or index):
        raise NotChosen("an answer to a question that is not among the questions")
    name = next((name for name in (*benchmark.id_fields, MEMBER, "index") if name in row), "index")
    if published is None and index is None:
        allowed = f"the question's id as {benchmark.title} publishes it, or index"
        raise row.missing(benchmark.id_fields[0], allowed)
    raise row.error(
        name,
        f"the id of one of the {len(questions)} questions (other_questions=skip leaves out others); an "
        "index refers to questions read from VLMEvalKit's .tsv",
    )


def _outcome(row: Fields) -> float | None:
    for name in FLAGS:
        if name not in row:
            continue
        value: Any = row.values[name]
        words = {"true": 1.0, "false": 0.0}
        try:
            number = words.get(str(value).strip().lower())
            number = float(value) if number is None else number
        except (TypeError, ValueError, OverflowError):
            raise row.error(name, "true, false, or a number in [0, 1]") from None
        if name == "match":  # URSA's: 0 is a right answer, 1 a wrong one, 2 (one row) neither
            if number == 2:
                return None
            number = 1 - number
        if not 0 <= number <= 1:
            raise row.error(name, "true, false, or a number in [0, 1]")
        return number
    return None
