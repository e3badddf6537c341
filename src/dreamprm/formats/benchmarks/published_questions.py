"""Reads question files, as published by benchmarks and VLMEvalKit, into questions with their groups."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import is_object, named_rows, raise_errors
from dreamprm.formats.table_files import cell_text, read_table
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
    image_folder: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> QuestionSet:
    """Read a benchmark's question file.

    Args:
        benchmark: the benchmark; its class documents the files that it reads.
        path: the benchmark's own file (.json, .jsonl, .parquet, a folder of parquet files), or VLMEvalKit's
            table (.tsv).
        images: `require`: every question's images are looked up, or written to `image_folder` if the file
            contains them; `ignore`: records have no images, which is enough for checking and scoring.
        image_root: the folder that image paths are relative to; None: the file's folder.
        image_folder: where images in the file are written, named by their content.
        split: which split of a folder with several splits.
        limit: stop after this many questions, >= 1; None: read all.

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
    folder = ImageFolder(image_root, image_folder)
    table = BenchmarkQuestions(folder, image_root)
    questions: list[BenchmarkQuestion] = []
    try:
        for row in question_rows(path, split=split):
            question = _question(benchmark, row)
            if images == "require" and question.index is None:
                found = _images(benchmark, row, folder)
                question = _with_images(question, found, row)
            elif images == "require":
                # Pass on only the image fields, since the benchmark reads the options.
                kept = {name: row.values.get(name) for name in ("image", "image_path")}
                given = {"index": question.index, "question": "-", "answer": "-"} | kept
                table.add(Fields(given, row.path, line=row.line))
            questions.append(question)
            if len(questions) == limit:
                break
        if images == "require":
            # A row of VLMEvalKit's table may refer to another row that has its image.
            questions = [
                question
                if question.index is None
                else _with_images(question, table.images(question.index), Fields({}, path, line=position))
                for position, question in enumerate(questions, start=2)
            ]
        if not questions:
            raise DataError(f"{path}: contains no questions; allowed: at least one")
        return QuestionSet(questions)
    except BaseException:
        folder.discard()
        raise


def question_rows(path: Path, *, split: str | None = None) -> Iterator[Fields]:
    """Rows of a table, or of a .json file that is a single object of named rows.

    Raises:
        DataError: a row that cannot be read.
    """
    rows = (
        named_rows(path, name=MEMBER, text="response") if is_object(path) else read_table(path, split=split)
    )
    yield from raise_errors(rows)


def _question(benchmark: Benchmark, row: Fields) -> BenchmarkQuestion:
    index = cell_text(row, "index") if row.path.suffix.lower() == ".tsv" else None
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
        if isinstance(row.values[name], str) and row.values[name].strip():
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
            f"{row.path}:{row.line}: question {question.published} has no image; set images=ignore to read "
            "the questions without images"
        )
    return dataclasses.replace(question, record=dataclasses.replace(question.record, images=images))
