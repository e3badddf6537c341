"""VLMEvalKit (arXiv 2407.11691): vision-language models' prediction files, as candidates."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import RIGHT_FROM, Candidate, CandidateRecord, contradicting
from dreamprm.files.distinct import require_distinct
from dreamprm.formats.candidate_groups import CandidateGroups
from dreamprm.formats.format import ConvertReport, NotChosen, TolerantReader, Writer, each_row
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.response_fields import ResponseFields, response_fields
from dreamprm.formats.table_files import cell_rows, cell_text
from dreamprm.formats.vlmevalkit_questions import BenchmarkQuestions
from dreamprm.formats.writers import write_cells

Empty = Literal["error", "skip"]
_ENDINGS = (".xlsx", ".tsv", ".csv", ".json")

_FAILED = "Failed to obtain answer"
"""What VLMEvalKit writes if a server or a model gave no answer; the reason follows."""


@dataclass(frozen=True)
class VLMEvalKit(TolerantReader):
    """Prediction files of one benchmark; predictions with the same `index` become a question's candidates.

    Reads one file, or a folder whose files named "*_BENCHMARK.xlsx" (.tsv, .csv, .json) are read in order of
    their names; a pattern such as "outputs/*/*_MMStar_*_result.xlsx" selects others. A file has `index`,
    `question`, `answer`, `prediction`, the options in columns `A`, `B`, ..., and optionally `hint` and
    `thinking`. Options are put below the question by `dreamprm.generators.prompting.question_text`, and a
    hint above it. A candidate's text is the prediction, preceded by its `thinking` if there is any. `correct`
    is the column `hit` (0 or 1) of a result file (`..._result.xlsx`), or else its `score`, or else null;
    checking answers is left to `dreamprm evaluate`. A graded `score` (MM-Vet) is the candidate's `credit`.
    `final_answer` is the column `extracted` or `res` if there is one, else the answer stated in the
    prediction. Next to a `response` column, the prediction is an extraction from it. The
    generator is the part of the file's name before "_BENCHMARK". `category`, `l2-category`, `split` and `log`
    are not kept. Records are in the order in which questions first appear; their id is the index.

    Prediction files have no images: VLMEvalKit drops that column. `questions` names the benchmark's own TSV,
    whose `image` (base64, one or a list, or the index of the row that has it) is written to `image_folder`,
    named by its content; an `image_path` is looked up below `image_root`, or else stays as written. Without
    either, the records are text only, which readers reject unless configured otherwise.

    Source: github.com/open-compass/VLMEvalKit, `vlmeval/inference.py`, `vlmeval/smp/file.py` and
    `docs/en/Development.md`, Apache-2.0. This was not tested on a real file of this format.
    """

    kind = "candidate"
    help = "VLMEvalKit prediction files (.xlsx, .tsv, .csv, .json), one or several, as candidate records"
    signature = (("index", "question", "answer", "prediction"),)

    benchmark: str | None = setting(
        None, "the benchmark's name as in the files' names, for instance MMMU_DEV_VAL; required"
    )
    questions: Path | None = setting(
        None, "the benchmark's TSV; null: questions and answers come from the prediction files"
    )
    image_root: Path | None = setting(
        None, "the folder that `image_path` is relative to; null: the questions file's folder"
    )
    image_folder: Path | None = setting(
        None, "where base64 images are written; null: a folder next to the destination"
    )
    split: str = setting(
        "auto",
        "how predictions are split into steps; auto: at headings where there are several, else into "
        "paragraphs",
        choices=SPLITS,
    )
    min_score: float | None = setting(
        None,
        "a `score` of at least this is correct; null: scores must be 0 or 1 (for grades, null means 0.5)",
    )
    graded: bool = setting(False, "whether scores are grades in [0, 1], which are kept as credits")
    empty: Empty = setting(
        "error",
        "what to do with a prediction that is empty or says that VLMEvalKit got no answer: error, or skip",
        choices=("error", "skip"),
    )

    def __post_init__(self) -> None:
        if not self.benchmark:
            raise UserError(
                "format vlmevalkit needs the benchmark's name: give benchmark=MMStar, for instance"
            )
        super().__post_init__()

    def read(self, path: Path, report: ConvertReport) -> Iterator[CandidateRecord]:
        """One record per question.

        Raises:
            UserError: no such file, no file of this benchmark, or a missing library.
            DataError: a bad row; the message names file, row, column, value and what is allowed. Images
                written so far are removed.
        """
        assert self.benchmark is not None
        files = _files(path, self.benchmark)
        images = ImageFolder(None, self.image_folder, allow_outside=True)  # paths are copied, as they are
        groups = CandidateGroups(self.benchmark, split=self.split, steps=report.steps)
        known = BenchmarkQuestions(images, self.image_root)

        def answer(fields: Fields) -> None:
            index = _group_of(fields, groups, known, from_questions=self.questions is not None)
            texts = _prediction(fields, self.empty)
            correct, credit = _outcome(fields, self.min_score, self.graded)
            groups.add(
                index,
                texts.text,
                final_answer=texts.extracted,
                correct=correct,
                generator=fields.path.stem.rpartition(f"_{self.benchmark}")[0] or fields.path.stem,
                credit=credit,
                stated_in=texts.response,
                file=str(fields.path),
            )

        require_distinct(files if self.questions is None else [self.questions, *files], "prediction files")
        try:
            asked = ConvertReport()
            if self.questions is not None:
                rows = each_row(cell_rows(self.questions), known.add, asked, self.tolerance, self.questions)
                deque(rows, maxlen=0)
            report.left_out += asked.left_out
            for file in files:
                deque(each_row(cell_rows(file), answer, report, self.tolerance, file), maxlen=0)
            report.bad += asked.bad
        except BaseException:
            images.discard()  # leave nothing half-done behind
            raise
        yield from groups.records()


@dataclass(frozen=True)
class VLMEvalKitWriter(Writer):
    """Writes one candidate of each record as a prediction file, of the type given by its ending.

    Columns: `index`, `question` (with its options, which get no columns of their own), `answer`,
    `prediction`, `image_path` if a record has images, `extracted` (the final answer), `hit` (0, 1, or empty
    if unknown) and `score` if candidates have a credit (graded=true reads it back). A file holds one model
    and one sample: write one file for each, named MODEL_BENCHMARK. Steps are not kept; the reader splits the
    text again.
    """

    generator: str | None = setting(
        None, "the generator whose candidates are written; null: all must be of one generator"
    )
    sample: int = setting(
        0, "which of a record's candidates of that generator is written, counted from 0", minimum=0
    )

    def write(self, records: Iterable[CandidateRecord], path: Path, report: ConvertReport) -> None:
        """Write the candidates selected by the options.

        Raises:
            UserError: an ending other than .xlsx, .tsv, .csv, .json, or a missing library.
            DataError: a record without such a candidate, or with candidates of several generators when none
                is named.
        """
        del report
        rows = [_row(record, _chosen(record, self.generator, self.sample)) for record in records]
        counts = Counter(row["index"] for row in rows)
        twice = next((index for index, count in counts.items() if count > 1), None)
        if twice is not None:
            raise DataError(
                f"{counts[twice]} records have the id {twice!r}, but a prediction file has one row per index;"
                " give each question an id of its own"
            )
        columns = ["index", "question", "answer", "prediction", "image_path", "extracted", "hit", "score"]
        for name in ("image_path", "score"):
            if all(row[name] is None for row in rows):
                columns.remove(name)
        write_cells(path, columns, rows)


def _files(path: str | Path, benchmark: str) -> list[Path]:
    folder = Path(path)
    if folder.is_file():
        return [folder]
    if folder.is_dir():
        files = [file for end in _ENDINGS for file in folder.glob(f"*_{benchmark}{end}")]
        stems = [file.stem for file in files]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        if twice is not None:
            raise UserError(
                f"{path} holds {twice} with several endings, so its answers would count twice; remove"
                " all but one, or use a pattern such as *.xlsx"
            )
    else:
        # A pattern: split it before the first part that has a wildcard.
        parts = folder.parts
        first = next((k for k, part in enumerate(parts) if any(mark in part for mark in "*?[")), None)
        if first is None:
            raise UserError(f"no such file: {path}; give a prediction file, a folder of them, or a pattern")
        files = list(Path(*parts[:first]).glob(os.path.join(*parts[first:])))
    if not files:
        raise UserError(f"no prediction file of {benchmark} at {path}; expected: MODEL_{benchmark}.xlsx")
    return sorted(files)


def _group_of(
    fields: Fields, groups: CandidateGroups, known: BenchmarkQuestions, *, from_questions: bool
) -> str:
    """The index of the row's question, which is added to the groups if it is new."""
    index = cell_text(fields, "index")
    if index is None:
        raise fields.error("index", "the question's index")
    if not from_questions:
        known.add(fields)
    elif index not in known:
        raise fields.error("index", "an index in the questions file", index)
    question = known.question(index)
    if index not in groups:
        groups.add_question(index, question=question, images=known.images(index), answer=known.answer(index))
    elif groups.question(index) != question:
        raise fields.error("question", f"the same question as in other files at index {index}", question)
    return index


def _prediction(fields: Fields, empty: Empty) -> ResponseFields:
    """The row's answer and its thinking.

    Raises:
        DataError: there is no answer.
        NotChosen: there is none, and such rows are left out.
    """
    texts = response_fields(fields)
    if not texts.response.strip() or texts.response.startswith(_FAILED):
        if empty == "error":
            raise fields.error(texts.field, "an answer (empty=skip leaves out rows without one)")
        raise NotChosen("no answer: the prediction is empty or reports a failure")
    return texts


def _outcome(fields: Fields, min_score: float | None, graded: bool) -> tuple[bool | None, float | None]:
    """The row's `correct` and `credit`."""
    if not graded:
        return _correct(fields, min_score), None
    credit = _credit(fields)
    correct = _correct(fields, RIGHT_FROM if min_score is None else min_score)
    contradiction = contradicting(correct, credit)
    if contradiction is not None:
        raise fields.error("score", f"a grade that fits 'hit' or min_score: {contradiction}")
    return correct, credit


def _credit(fields: Fields) -> float | None:
    """The grade in the column `score`; None if the cell is empty."""
    text = cell_text(fields, "score")
    if text is None:
        return None
    try:
        credit = float(text)
    except ValueError:
        credit = -1.0
    if not 0 <= credit <= 1:
        raise fields.error("score", "a grade in [0, 1] (graded=true)")
    return credit


def _correct(fields: Fields, min_score: float | None) -> bool | None:
    for name in ("hit", "score"):
        if name not in fields:
            continue
        value = fields.values[name]
        try:
            number = float({"true": 1, "false": 0}.get(str(value).strip().lower(), value))
        except (TypeError, ValueError, OverflowError):
            raise fields.error(name, "0 or 1, or a number") from None
        if number != number:  # NaN is not >= any min_score, so it would silently count as wrong
            raise fields.error(name, "0 or 1, or a number; empty if unknown")
        if name == "score" and min_score is not None:
            return number >= min_score
        if number not in (0.0, 1.0):
            hint = "; set min_score to the lowest score of a correct answer" * (name == "score")
            raise fields.error(name, f"0 or 1{hint}")
        return bool(number)
    return None


def _chosen(record: CandidateRecord, generator: str | None, sample: int) -> Candidate:
    named = list(dict.fromkeys(one.generator for one in record.candidates))
    if generator is None and len(named) > 1:
        raise DataError(
            f"record {record.id} has candidates of {', '.join(map(repr, named))}, but a prediction file holds"
            " only one model's; choose one with generator="
        )
    chosen = [one for one in record.candidates if generator is None or one.generator == generator]
    if sample >= len(chosen):
        of = "" if generator is None else f" of generator {generator!r}"
        raise DataError(f"record {record.id} has {len(chosen)} candidates{of}, none with sample={sample}")
    return chosen[sample]


def _row(record: CandidateRecord, candidate: Candidate) -> dict[str, Any]:
    if not record.id.strip():
        raise DataError(
            f"the record of question {record.question[:60]!r} has a blank id, but a row's index says which "
            "question it answers; give the record an id"
        )
    images = record.images
    return {
        "index": int(record.id) if record.id.isdecimal() and len(record.id) < 19 else record.id,
        "question": record.question,
        "answer": record.answer,
        "prediction": candidate.text,
        "image_path": json.dumps(list(images)) if len(images) > 1 else next(iter(images), None),
        "extracted": candidate.final_answer,
        "hit": None if candidate.correct is None else int(candidate.correct),
        "score": candidate.credit,
    }
