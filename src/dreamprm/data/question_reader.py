"""Read question records: what chains of thought are sampled for and judged by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dreamprm.data.fields import Fields, ImagePolicy, MissingImage
from dreamprm.data.read_report import OnError, ReadReport, Tolerance
from dreamprm.data.readers import parsed_records, record_images
from dreamprm.data.records import ANSWER_TYPES, OPTION_LETTERS, QuestionRecord


def read_question_records(
    path: str | Path,
    *,
    image_root: str | Path | None = None,
    missing_image: MissingImage = "error",
    allow_no_image: bool = False,
    check_images: bool = False,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    domain: str | None = None,
    report: ReadReport | None = None,
) -> Iterator[QuestionRecord]:
    """Read question records, of which each is a question with its answer.

    A record holds `question`, `image` or `images`, `answer` (a text or a number), `domain` and optionally
    `options` (a list of texts), `answer_type`, `precision`, `unit`, `id` (else the file's name and the row's
    number, from 1). With options the answer is a letter or the text of one of them, and becomes its letter.

    Args:
        path: a JSON array or a JSON Lines file of any size; it is read row by row.
        image_root, missing_image, allow_no_image, check_images, on_error, max_bad_fraction, report: as in
            `read_step_records`.
        domain: the domain of every record, whatever the file says; None: each names its own, or else takes
            the file's name without its ending.

    Returns:
        An iterator of records.

    Raises:
        UserError, DataError: as `read_step_records`.
    """
    report = ReadReport() if report is None else report
    images = ImagePolicy(image_root, missing_image, allow_no_image, check_images)
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
            answer=_answer(fields, options),
            options=options,
            domain=domain or fields.optional_text("domain") or path.stem,
            answer_type=answer_type,
            precision=_precision(fields),
            unit=fields.optional_text("unit"),
            # Ids name CoTs and labels: the rows of an array on one line need different ones.
            id=fields.identifier() if "id" in fields else f"{path.stem}-{report.rows}",
        )

    return parsed_records(path, parse, report, Tolerance(on_error, max_bad_fraction))


def _answer(fields: Fields, options: tuple[str, ...]) -> str:
    """The answer as text; of a question with options the letter of the one it names."""
    given = fields.require("answer", "a text or a number")
    if isinstance(given, bool) or not isinstance(given, str | int | float) or not str(given).strip():
        raise fields.error("answer", "a text or a number")
    answer = str(given).strip()
    if not options:
        return answer
    letters = OPTION_LETTERS[: len(options)]
    named = [letter for letter, text in zip(letters, options, strict=True) if text.strip() == answer]
    # The options of a puzzle may be letters themselves, out of order: then the text decides.
    if len(named) == 1:
        return named[0]
    letter = answer.strip("(). ").upper()
    if len(letter) == 1 and letter in letters:
        return letter
    raise fields.error("answer", f"one of the letters {', '.join(letters)}, or the text of one option")


def _precision(fields: Fields) -> int | None:
    if "precision" not in fields:
        return None
    value = fields.values["precision"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise fields.error("precision", "a whole number of decimals >= 0, or null")
    return value
