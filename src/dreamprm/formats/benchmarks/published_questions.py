"""Reads question files, as published by benchmarks and VLMEvalKit, into questions with their groups."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import ReadReport, Tolerance
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.format import each_row
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.image_sources import is_embedded
from dreamprm.formats.json_rows import is_object, named_rows
from dreamprm.formats.table_files import SEPARATORS, cell_text, read_table
from dreamprm.formats.vlmevalkit_questions import BenchmarkQuestions

Images = Literal["require", "ignore"]
MEMBER = "__member__"
"""The field that holds a row's name if the file is a single object of named rows."""


def read_questions(
    benchmark: Benchmark,
    path: str | Path,
    *,
    images: Images = "require",
    image_root: str | Path | None = None,
    allow_outside: bool = False,
    allow_urls: bool = False,
    image_folder: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    tolerance: Tolerance | None = None,
    report: ReadReport | None = None,
) -> QuestionSet:
    """Read a benchmark's question file.

    Args:
        benchmark: the benchmark; its class documents the files that it reads.
        path: the benchmark's own file (.json, .jsonl, .parquet, a folder of parquet files), or VLMEvalKit's
            table (.tsv, .csv).
        images: `require`: every question's images are looked up, or written to `image_folder` if the file
            contains them; `ignore`: records have no images, which is enough for checking and scoring.
        image_root: the folder that image paths are relative to; None: the file's folder.
        allow_outside: whether an image path may lead out of it.
        allow_urls: whether images that are given by a URL are downloaded.
        image_folder: where images in the file are written, named by their content.
        split: which split of a folder with several splits.
        limit: stop after this many questions, >= 1; None: read all.
        tolerance: whether bad rows stop the reading; None: the first one does. Figures of a benchmark whose
            questions belong together (WeMath) lack the whole problem of a bad row.
        report: filled in while reading.

    Raises:
        UserError: no such file, a bad option, or images in the file but no folder for them.
        DataError: a bad row (the message names file, line, field, value and what is allowed), two questions
            with the same id, or no questions. Images written so far are removed.
    """
    if images not in ("require", "ignore"):
        raise UserError(f"images must be 'require' or 'ignore', got {images!r}")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UserError(f"limit must be a whole number >= 1, or null for all questions; got {limit!r}")
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"no such file or folder: {path}; give the questions of {benchmark.title} as published"
        )
    folder = ImageFolder(image_root, image_folder, allow_outside=allow_outside, allow_urls=allow_urls)
    table = BenchmarkQuestions(folder, image_root)
    tolerance, report = tolerance or Tolerance(), ReadReport() if report is None else report
    left_out: set[str] = set()

    def read(row: Fields) -> BenchmarkQuestion:
        try:
            question = _question(benchmark, row)
            if images == "require" and question.index is None:
                found = _images(benchmark, row, folder)
                question = _with_images(question, found, row)
            elif images == "require":
                # Pass on only the image fields, since the benchmark reads the options.
                kept = {name: row.values.get(name) for name in ("image", "image_path")}
                given = {"index": question.index, "question": "-", "answer": "-"} | kept
                table.add(row.with_values(given))
            return question
        except DataError:
            left_out.update(_ids(benchmark, row))
            raise

    def illustrated(rows: Iterable[tuple[int, BenchmarkQuestion]]) -> Iterator[BenchmarkQuestion]:
        # A row of VLMEvalKit's table may refer to another row that has its image.
        for line, question in rows:
            try:
                if question.index is not None:
                    found = table.images(question.index)
                    question = _with_images(question, found, Fields({}, path, line=line))
                yield question
            except DataError as error:
                left_out.update({question.published, question.index or question.published})
                tolerance.take(error, report, path)

    try:
        rows = each_row(question_rows(path, split=split), read, report, tolerance, path)
        questions = list(itertools.islice(rows, limit))
        if images == "require":
            questions = list(illustrated(enumerate(questions, start=2)))
            tolerance.judge(report, path)
        if not questions:
            raise DataError(f"{path}: contains no questions; allowed: at least one")
        if report.bad:
            kept = benchmark.whole_units(questions)
            dropped = {one.published for one in questions} - {one.published for one in kept}
            report.leave_with(dropped)
            left_out |= dropped | {str(one.index) for one in questions if one.published in dropped}
            questions = kept
        return QuestionSet(questions, left_out)
    except BaseException:
        folder.discard()
        raise


def question_rows(path: Path, *, split: str | None = None) -> Iterator[Fields | DataError]:
    """Rows of a table, or of a .json file that is a single object of named rows."""
    if is_object(path):
        return named_rows(path, name=MEMBER, text="response")
    return read_table(path, split=split)


def _ids(benchmark: Benchmark, row: Fields) -> Iterator[str]:
    """The ids by which predictions may name the question of a bad row, as far as they can be read."""
    with suppress(DataError):
        yield from filter(
            None, (benchmark.published_id(row), cell_text(row, MEMBER), cell_text(row, "index"))
        )


def _question(benchmark: Benchmark, row: Fields) -> BenchmarkQuestion:
    index = cell_text(row, "index") if row.path.suffix.lower() in SEPARATORS else None
    published = benchmark.published_id(row) or index or cell_text(row, MEMBER)
    if published is None:
        allowed = " or ".join(dict.fromkeys((*benchmark.id_fields, "index")))
        raise row.missing(allowed, f"the question's id, as {benchmark.title} publishes it")
    question = benchmark.question(row, published)
    return dataclasses.replace(question, index=index)


def _images(benchmark: Benchmark, row: Fields, folder: ImageFolder) -> tuple[str, ...]:
    found: list[str] = []
    for name in benchmark.image_fields:
        if name not in row:
            continue
        if (
            isinstance(row.values[name], str)
            and row.values[name].strip()
            and not is_embedded(row.values[name])
        ):
            places = [os.path.join(prefix, row.values[name]) for prefix in benchmark.image_folders]
            found.append(folder.find(row, name, places))
        else:
            found += folder.take(row, name)
        if found and not benchmark.several_images:
            break
    return tuple(found)


def _with_images(question: BenchmarkQuestion, images: tuple[str, ...], row: Fields) -> BenchmarkQuestion:
    if not images:
        raise DataError(
            f"{row.where}: question {question.published} has no image; set images=ignore to read "
            "the questions without images"
        )
    return dataclasses.replace(question, record=dataclasses.replace(question.record, images=images))
