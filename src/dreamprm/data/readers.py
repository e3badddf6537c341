"""Read step, meta and candidate records, in the public DreamPRM form and in our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.consensus import Consensus
from dreamprm.data.fields import Fields, ImagePolicy, MissingImage, TruncatedImage, place
from dreamprm.data.json_stream import stream_json
from dreamprm.data.nested_rows import NestedRow, group_nested, without_cut_marks
from dreamprm.data.read_report import OnError, ReadReport, Tolerance
from dreamprm.data.records import Candidate, CandidateRecord, MetaRecord, StepRecord, contradicting
from dreamprm.data.step_scores import read_scores
from dreamprm.responses import final_answer, split_question, split_steps

Stepless = Literal["error", "skip"]
T = TypeVar("T")
R = TypeVar("R", StepRecord, MetaRecord)


def read_step_records(
    path: str | Path,
    *,
    image_root: str | Path | None = None,
    missing_image: MissingImage = "error",
    allow_no_image: bool = False,
    allow_outside: bool = False,
    check_images: bool = False,
    stepless: Stepless = "error",
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    domain: str | None = None,
    consensus: Consensus | None = None,
    report: ReadReport | None = None,
) -> Iterator[StepRecord]:
    """Read training records: the public DreamPRM form, or our own with one chain of thought per line.

    Public form: `input` (question), `add` (the chain up to this step), `accuracy` in [0, 1], `dataset`,
    `image_path`, optional `id`, `times` (rollouts); the rows of a chain are grouped, see `group_nested`.
    Own form: `question`, `image` or `images`, `domain`, `steps`, `labels` (null = not labelled), optional
    `rollouts`, `id`, `final_answer_correct`. Other fields are ignored. DreamPRM, arXiv 2505.20241.

    Args:
        path: a JSON array or a JSON Lines file of any size; it is read row by row.
        image_root: the folder that image paths are relative to; None for the file's own folder.
        missing_image: `error`, or `text_only` to use the record without its images.
        allow_no_image: whether a record may name no image.
        allow_outside: whether an image path may lead out of the folder: absolute, by `..`, or by a link.
        check_images: also decode every image; their existence is always checked.
        stepless: a record with empty `steps` is an `error`, or is left out (`skip`).
        on_error: `error` stops at the first bad row; `skip` leaves bad rows out, counted and listed in
            `report`.
        max_bad_fraction: the share of bad rows, in [0, 1], above which `skip` stops the reading too.
        domain: the domain of every record, whatever the file says; needed if the file names none.
        consensus: leaves out the CoTs, or the labels, on which a second labelling in the file disagrees.
        report: filled in while reading; pass a new one each time.

    Returns:
        An iterator of records.

    Raises:
        UserError: no such file, an invalid setting, or `consensus` for a file in the public form, which has
            one labelling.
        DataError: a bad record (with file, line, field, value and what is allowed), too many bad records, or
            a file without any record.
    """
    report = ReadReport() if report is None else report
    images = ImagePolicy.of_reader(
        image_root, missing_image, allow_no_image, allow_outside=allow_outside, check_images=check_images
    )
    _check_stepless(stepless)

    def parse(fields: Fields) -> StepRecord | NestedRow | None:
        if is_nested_row(fields):
            if consensus is not None:
                raise UserError(
                    f"{fields.where}: a row of the public DreamPRM form has one labelling, so there is no "
                    f"consensus with {consensus.name!r}; score the file first (`dreamprm score`), which "
                    "writes one CoT per line with the scorer's labels, or leave data.consensus out"
                )
            return nested_row(fields, images, report, domain)
        return step_record(fields, images, report, domain=domain, stepless=stepless, consensus=consensus)

    return group_nested(parsed_records(Path(path), parse, report, Tolerance(on_error, max_bad_fraction)))


def read_meta_records(
    path: str | Path,
    *,
    image_root: str | Path | None = None,
    missing_image: MissingImage = "error",
    allow_no_image: bool = False,
    allow_outside: bool = False,
    check_images: bool = False,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ReadReport | None = None,
) -> Iterator[MetaRecord]:
    """Read meta records: the public DreamPRM form, or our own.

    Public form: `input` (question and chain of thought in one text, split at its `Step 1` heading),
    `true_false`, `image_path`, optional `id`. Own form: `question`, `image` or `images`, `steps`,
    `correct`, optional `id`. A record without a chain of thought is read, with empty `.steps`;
    `require_steps` rejects it.

    Args:
        path: a JSON array or a JSON Lines file of any size; it is read row by row.
        image_root, missing_image, allow_no_image, allow_outside, check_images, on_error, max_bad_fraction,
            report: as in `read_step_records`.

    Returns:
        An iterator of records.

    Raises:
        UserError, DataError: as for `read_step_records`.
    """
    report = ReadReport() if report is None else report
    images = ImagePolicy.of_reader(
        image_root, missing_image, allow_no_image, allow_outside=allow_outside, check_images=check_images
    )

    def parse(fields: Fields) -> MetaRecord:
        if "question" not in fields.values and ("input" in fields.values or "true_false" in fields.values):
            question, steps = split_question(fields.text("input"))
            if not question:
                raise fields.error("input", "a question before the first 'Step 1' heading")
            correct = fields.truth("true_false")
        else:
            question, steps, correct = fields.text("question"), fields.texts("steps"), fields.truth("correct")
        return MetaRecord(
            question=question,
            images=record_images(fields, images, report),
            steps=steps,
            correct=correct,
            id=fields.identifier(),
            place=fields.place,
        )

    return parsed_records(Path(path), parse, report, Tolerance(on_error, max_bad_fraction))


def read_candidate_records(
    path: str | Path,
    *,
    image_root: str | Path | None = None,
    missing_image: MissingImage = "error",
    allow_no_image: bool = False,
    allow_outside: bool = False,
    check_images: bool = False,
    truncated_image: TruncatedImage = "error",
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ReadReport | None = None,
) -> Iterator[CandidateRecord]:
    """Read candidate records, each a benchmark question with its N candidate answers.

    A record holds `question`, `image` or `images`, `benchmark`, `answer`, `candidates` and optionally `id`.
    A candidate holds `text` and optionally `steps` (by default the text split at its headings),
    `final_answer` (by default what the text states), `correct`, `credit` (in [0, 1], of a graded answer),
    `generator` and `scores` (dreamprm.data.step_scores). If there is no `text`, the steps are joined to form
    it.

    Args:
        path: a JSON array or a JSON Lines file of any size; it is read row by row.
        image_root, missing_image, allow_no_image, allow_outside, check_images, on_error, max_bad_fraction,
            report: as in `read_step_records`.
        truncated_image: with `check_images`, whether an image that is cut off is broken (`error`), or used as
            far as it goes and counted (`read`).

    Returns:
        An iterator of records.

    Raises:
        UserError, DataError: as for `read_step_records`.
    """
    report = ReadReport() if report is None else report
    images = ImagePolicy.of_reader(
        image_root,
        missing_image,
        allow_no_image,
        allow_outside=allow_outside,
        check_images=check_images,
        truncated_image=truncated_image,
    )

    def parse(fields: Fields) -> CandidateRecord:
        return candidate_record(fields, images, report)

    return parsed_records(Path(path), parse, report, Tolerance(on_error, max_bad_fraction))


def is_nested_row(fields: Fields) -> bool:
    """Whether a row of step records has the public DreamPRM form, with one row per prefix."""
    return "steps" not in fields.values and ("add" in fields.values or "input" in fields.values)


def step_record(
    fields: Fields,
    images: ImagePolicy,
    report: ReadReport,
    *,
    domain: str | None = None,
    stepless: Stepless = "error",
    consensus: Consensus | None = None,
) -> StepRecord | None:
    """The step record of one row in our own form; None if it is left out: it has no steps, or no consensus.

    Args:
        fields: the fields of the row.
        images: where its images are.
        report: counts what is left out.
        domain, stepless, consensus: as in `read_step_records`.

    Raises:
        DataError: a bad field.
    """
    question, steps = fields.text("question"), fields.texts("steps")
    if not steps:
        error = fields.error("steps", "at least one step (stepless=skip leaves such records out)")
        if stepless == "error":
            raise error
        report.stepless += 1
        report.leave_out(str(error))
        return None
    labels = fields.probabilities("labels", len(steps))
    if all(label is None for label in labels):
        raise fields.error("labels", "at least one step with a label in [0, 1]")
    if consensus is not None:
        agreed = consensus.agreed(fields, labels)
        if agreed is None:
            report.disagreeing += 1
            report.leave_out(f"{fields.where}: no consensus with {consensus.name!r} ({consensus.on})")
            return None
        lost = sum(label is not None for label in labels) - sum(label is not None for label in agreed)
        report.disagreeing_steps += lost
        labels = agreed
    return StepRecord(
        question=question,
        images=record_images(fields, images, report),
        domain=fields.text("domain") if domain is None else domain,
        steps=steps,
        labels=labels,
        rollouts=fields.counts("rollouts", len(steps)),
        id=fields.identifier(),
        place=fields.place,
        final_answer_correct=fields.optional_truth("final_answer_correct"),
    )


def candidate_record(fields: Fields, images: ImagePolicy, report: ReadReport) -> CandidateRecord:
    """The candidate record of one row; arguments and errors as for `step_record`."""
    return CandidateRecord(
        question=fields.text("question"),
        images=record_images(fields, images, report),
        benchmark=fields.text("benchmark"),
        answer=fields.text("answer"),
        candidates=tuple(_candidate(candidate) for candidate in fields.objects("candidates")),
        id=fields.identifier(),
    )


def require_steps(
    records: Iterable[R], stepless: Stepless = "error", *, report: ReadReport | None = None
) -> Iterator[R]:
    """Reject or leave out records without steps: they can be parsed, but a step score needs a step.

    Args:
        records: step or meta records.
        stepless: `error` raises at the first one; `skip` leaves them out, counted and listed in `report`.
        report: filled in if given.

    Returns:
        An iterator of the records that have steps.

    Raises:
        UserError: `stepless` is neither of these.
        DataError: a record without steps (`stepless=error`); the message names it.
    """
    _check_stepless(stepless)
    return _with_steps(records, stepless, report)


def _with_steps(records: Iterable[R], stepless: Stepless, report: ReadReport | None) -> Iterator[R]:
    for record in records:
        if record.steps:
            yield record
            continue
        reason = f"record {record.id} has no steps (question: {record.question[:60]!r})"
        if stepless == "error":
            raise DataError(
                f"{reason}; a record needs at least one step to be trained on:"
                " give chains of thought with 'Step k:' headings,"
                " or set stepless=skip to leave such records out"
            )
        if report is not None:
            report.stepless += 1
            report.leave_out(reason)


def parsed_records(
    path: Path, parse: Callable[[Fields], T | None], report: ReadReport, tolerance: Tolerance
) -> Iterator[T]:
    """The records that `parse` returns for a file's rows (None: no record); `tolerance` handles bad rows."""
    for row in stream_json(path):
        report.rows += 1
        try:
            if row.problem is not None:
                raise DataError(f"{place(path, row.line, row.element)}: {row.problem}")
            record = parse(Fields(row.value, path, line=row.line, element=row.element))
        except DataError as error:
            tolerance.take(error, report, path)
        else:
            if record is not None:
                yield record
    if not report.rows:
        raise DataError(f"{path}: holds no record; allowed: at least one")
    tolerance.judge(report, path)


def nested_row(fields: Fields, images: ImagePolicy, report: ReadReport, domain: str | None) -> NestedRow:
    """One row of the public DreamPRM form; arguments and errors as for `step_record`."""
    question, add = fields.text("input"), without_cut_marks(fields.text("add"))
    if not add:
        raise fields.error("add", "the chain of thought up to this step")
    given = fields.identifier()
    return NestedRow(
        question=question.strip(),
        images=record_images(fields, images, report),
        domain=fields.text("dataset") if domain is None else domain,
        add=add,
        label=fields.probability("accuracy"),
        rollouts=fields.count("times"),
        id=given if "id" in fields else None,
        name=given,
        place=fields.place,
    )


def _candidate(fields: Fields) -> Candidate:
    steps = fields.texts("steps") if "steps" in fields else ()
    text = "\n\n".join(steps) if steps and "text" not in fields else fields.text("text")
    stated = fields.optional_text("final_answer")
    parts = steps or split_steps(text)
    candidate = Candidate(
        text=text,
        steps=parts,
        final_answer=final_answer(text) if stated is None else stated,
        correct=fields.optional_truth("correct"),
        generator=fields.optional_text("generator"),
        scores=read_scores(fields, len(parts)),
        credit=fields.probability("credit") if "credit" in fields else None,
    )
    contradiction = contradicting(candidate.correct, candidate.credit)
    if contradiction is not None:
        raise fields.error("credit", f"a number in [0, 1] that fits 'correct': {contradiction}")
    return candidate


def record_images(fields: Fields, policy: ImagePolicy, report: ReadReport) -> tuple[str, ...]:
    """The record's image paths; if they were dropped, the record is counted in `report`."""
    found = policy.resolve(fields)
    where = fields.where
    if found.lost is not None:
        report.text_only += 1
        report.note(report.without_images, f"{where}: {found.lost}")
    if found.cut_off is not None:
        report.cut_off += 1
        report.note(report.cut_off_images, f"{where}: {found.cut_off}")
    return found.paths


def _check_stepless(stepless: str) -> None:
    if stepless not in ("error", "skip"):
        raise UserError(f"stepless must be 'error' or 'skip', got {stepless!r}")
