"""Read question records, for which chains of thought are sampled and by which they are judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields, ImagePolicy, MissingImage, TruncatedImage
from dreamprm.data.read_report import OnError, ReadReport, Tolerance
from dreamprm.data.readers import parsed_records, record_images
from dreamprm.data.records import ANSWER_TYPES, OPTION_LETTERS, QuestionRecord
from dreamprm.files.distinct import require_distinct
from dreamprm.runtime.settings import QuestionFileSettings, shard_of

Say = Callable[[str], None]


def read_question_records(
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
    domain: str | None = None,
    report: ReadReport | None = None,
) -> Iterator[QuestionRecord]:
    """Read question records, each a question with its answer.

    A record holds `question`, `image` or `images`, `answer` (a text or a number), `domain` and optionally
    `options` (a list of texts), `answer_type`, `precision`, `unit`, `id` (by default the file's name and the
    row's number, from 1). If there are options, the answer is the letter or the text of one of them, and is
    read as its letter.

    Args:
        path: a JSON array or a JSON Lines file of any size; it is read row by row.
        image_root, missing_image, allow_no_image, allow_outside, check_images, truncated_image, on_error,
            max_bad_fraction, report: as in `read_candidate_records`.
        domain: the domain of every record, whatever the file says; None: each record names its own, or gets
            the file's name without its suffix.

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
    path = Path(path)

    def parse(fields: Fields) -> QuestionRecord:
        options = fields.texts("options") if "options" in fields else ()
        if len(options) > len(OPTION_LETTERS):
            raise fields.error("options", f"at most {len(OPTION_LETTERS)} options", f"{len(options)} options")
        answer_type = fields.optional_text("answer_type")
        if answer_type is not None and answer_type not in ANSWER_TYPES:
            raise fields.error("answer_type", f"one of {', '.join(ANSWER_TYPES)}, or null")
        if answer_type == "choice" and not options:
            raise fields.error("answer_type", "'choice' needs 'options'")
        return QuestionRecord(
            question=fields.text("question"),
            images=record_images(fields, images, report),
            answer=letter_of(fields, "answer", options) if options else answer_text(fields, "answer"),
            options=options,
            domain=domain or fields.optional_text("domain") or path.stem,
            answer_type=answer_type,
            precision=_precision(fields),
            unit=fields.optional_text("unit"),
            # Ids name CoTs and labels: the rows of an array on one line need different ones.
            id=fields.identifier() if "id" in fields else f"{path.stem}-{report.rows}",
        )

    return parsed_records(path, parse, report, Tolerance(on_error, max_bad_fraction))


def open_questions(
    settings: QuestionFileSettings,
    *,
    say: Say = print,
    truncated_image: str = "error",
    reports: list[ReadReport] | None = None,
) -> list[QuestionRecord]:
    """All question records of the files, in order; `questions.limit` is applied by `share`.

    Args:
        truncated_image: what the generator does with an image that is cut off (its setting of that name).
            Where broken images are left out, or cut-off ones used, all images are decoded here, so that they
            are counted before anything is sampled.
        reports: receives the report of reading each file.

    Raises:
        UserError, DataError: as raised by the reader.
        DataError: two questions have the same id.
    """
    require_distinct([file.path for file in settings.files], "questions.files")
    records: list[QuestionRecord] = []
    for file in settings.files:
        report = ReadReport()
        records += read_question_records(
            file.path, domain=file.domain, report=report, **reading_arguments(settings, truncated_image)
        )
        if reports is not None:
            reports.append(report)
        for line in report.lines():
            say(f"{file.path}: {line}")
    require_unique_ids([record.id for record in records], "questions")
    return records


def share(
    questions: Sequence[QuestionRecord], settings: QuestionFileSettings, shard: str
) -> list[QuestionRecord]:
    """Every n-th of the first `questions.limit` questions, starting at the i-th, for a shard written i/n."""
    first, step = shard_of(shard)
    return list(questions[: settings.limit][first::step])


def reading_arguments(settings: QuestionFileSettings, truncated_image: str) -> dict[str, Any]:
    """How a command's files of questions or candidates are read: arguments of the readers."""
    return {
        "truncated_image": truncated_image,
        "check_images": settings.missing_image == "text_only" or truncated_image == "read",
        "image_root": settings.image_root,
        "missing_image": settings.missing_image,
        "allow_no_image": settings.allow_no_image,
        "allow_outside": settings.allow_outside,
        "on_error": settings.on_error,
        "max_bad_fraction": settings.max_bad_fraction,
    }


def require_unique_ids(ids: Sequence[str], where: str) -> None:
    """Require ids that identify.

    Raises:
        DataError: two are the same.
    """
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise DataError(
                f"{where}: two records have the id {id!r}; ids identify CoTs and labels, so they must be "
                "unique (across all files)"
            )
        seen.add(id)


def answer_text(row: Fields, name: str) -> str:
    """An answer given as a text or a number, as text.

    Raises:
        DataError: the answer is neither, or an empty text.
    """
    text = plain_text(row.require(name, "a text that is not empty, or a number"))
    if text is None:
        raise row.error(name, "a text that is not empty, or a number")
    return text


def letter_of(row: Fields, name: str, options: Sequence[str]) -> str:
    """The letter of the option that a field names by its text, or else by its letter.

    The options of a puzzle may themselves be letters, out of order; then the text decides.

    Raises:
        DataError: the field names no option.
    """
    letters = OPTION_LETTERS[: len(options)]
    given = answer_text(row, name)
    named = [letter for letter, text in zip(letters, options, strict=True) if text.strip() == given]
    if len(named) == 1:
        return named[0]
    letter = given.strip("(). ").upper()
    if len(letter) == 1 and letter in letters:
        return letter
    raise row.error(name, f"the text of one option, or one of the letters {', '.join(letters)}")


def plain_text(value: Any) -> str | None:
    """A text without surrounding white space, or a finite number as text; None for anything else."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(value)


def _precision(fields: Fields) -> int | None:
    if "precision" not in fields:
        return None
    value = fields.values["precision"]
    if not is_precision(value):
        raise fields.error("precision", PRECISION)
    return int(value)


PRECISION = "a whole number of decimals >= 0, or null (at most 1000)"


def is_precision(value: Any) -> bool:
    """Whether a value is a number of decimals, to which Python can round."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000
