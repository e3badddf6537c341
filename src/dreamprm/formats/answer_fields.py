"""Reads questions, options and answers from other projects' rows into our form: texts, letters, numbers."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from dreamprm.data.fields import Fields
from dreamprm.data.question_reader import answer_text, letter_of, plain_text
from dreamprm.data.records import OPTION_LETTERS
from dreamprm.files.json_values import unusable
from dreamprm.formats.table_files import cell_text

__all__ = [
    "answer_text",
    "checked_options",
    "decimals_for",
    "letter_at",
    "letter_given",
    "letter_of",
    "lettered_columns",
    "number_type",
    "option_columns",
    "option_texts",
    "parsed_list",
    "with_context",
]

_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+)")


def option_texts(row: Fields, name: str) -> tuple[str, ...]:
    """The options in one field: a list of texts or numbers, or a text that contains such a list.

    A text is parsed as JSON or as a Python literal (MMMU's notation); it is never executed.

    Raises:
        DataError: not such a list, an empty option, or more options than letters.
    """
    value = row.require(name, "a list of options")
    if isinstance(value, str):
        value = parsed_list(value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise row.error(name, "a list of options, or a text with a JSON or Python list")
    return checked_options(row, name, value)


def checked_options(row: Fields, name: str, values: Sequence[Any]) -> tuple[str, ...]:
    """Validate option values and return them as texts.

    Raises:
        DataError: an option that is empty or is neither a text nor a number, or more options than letters.
    """
    if len(values) > len(OPTION_LETTERS):
        raise row.error(name, f"at most {len(OPTION_LETTERS)} options", f"{len(values)} options")
    texts = [plain_text(value) for value in values]
    for index, text in enumerate(texts):
        if text is None:
            raise row.error(f"{name}[{index}]", "a text that is not empty, or a number", values[index])
    return tuple(text for text in texts if text is not None)


def accepted_answers(row: Fields, name: str) -> tuple[str, ...]:
    """The accepted answers in one field: one, or a list of at least one, also as a text that contains it.

    Raises:
        DataError: no answer, or one that is empty.
    """
    value = row.require(name, "an answer, or a list of answers")
    listed = isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]")
    if not listed and not isinstance(value, list):
        return (answer_text(row, name),)
    accepted = option_texts(row, name)
    if not accepted:
        raise row.error(name, "an answer, or a list of at least one")
    return accepted


def option_columns(row: Fields) -> tuple[str, ...]:
    """The options in the columns A, B, ..., in order; empty if all columns are empty.

    Raises:
        DataError: a column is empty but a later one is not, so the letters would shift.
    """
    options = lettered_columns(row)
    pairs = zip(OPTION_LETTERS, options, strict=False)
    gap = next((letter for letter, given in pairs if given != letter), None)
    if gap is not None:
        raise row.error(gap, "an option, since a later column has one and letters must not shift")
    return tuple(options.values())


def lettered_columns(row: Fields) -> dict[str, str]:
    """The non-empty options in the columns A, B, ..., by letter."""
    cells = {letter: cell_text(row, letter) for letter in OPTION_LETTERS}
    return {letter: text for letter, text in cells.items() if text is not None}


def letter_at(row: Fields, name: str, options: Sequence[str], *, first: int = 0) -> str:
    """The letter of the option whose number is in a field; options are numbered from `first`.

    Raises:
        DataError: not a whole number (or a text of digits), or not the number of an option.
    """
    allowed = f"the number of an option, {first} to {first + len(options) - 1}"
    value = row.require(name, allowed)
    # Python refuses to convert thousands of digits.
    if isinstance(value, str) and len(value.strip()) < 20 and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():  # a column with gaps is stored as floats
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not first <= value < first + len(options):
        raise row.error(name, allowed)
    return OPTION_LETTERS[value - first]


def letter_given(row: Fields, name: str, options: Sequence[str]) -> str:
    """The letter in a field: `B`, `b`, `(B)` or `B.`.

    Raises:
        DataError: not the letter of an option.
    """
    letters = OPTION_LETTERS[: len(options)]
    allowed = f"one of the letters {', '.join(letters)}"
    value = row.require(name, allowed)
    letter = value.strip("(). \n").upper() if isinstance(value, str) else ""
    if len(letter) != 1 or letter not in letters:
        raise row.error(name, allowed)
    return letter


def with_context(row: Fields, context: str | None) -> str:
    """The text in `question`, preceded by the text of the field `context` if there is any."""
    before = (row.optional_text(context) or "").strip() if context is not None else ""
    text = row.text("question").strip()
    return f"{before}\n{text}" if before else text


def number_type(text: str) -> str | None:
    """`integer` or `float` if the text is exactly such a number, else None.

    Texts with units, currency signs, thousands separators or fractions give None.
    """
    if _INTEGER.fullmatch(text):
        return "integer"
    return "float" if _DECIMAL.fullmatch(text) else None


def decimals_for(text: str, significant: int) -> int | None:
    """The number of decimals to round to so that at most `significant` digits are kept.

    Never more than the text has, and never negative; None if the text is not a decimal number.
    """
    if number_type(text) != "float":
        return None
    written = len(text.partition(".")[2])
    size = abs(float(text))
    if size == 0 or math.isinf(size):
        return written
    return max(0, min(written, significant - 1 - math.floor(math.log10(size))))


def parsed_list(text: str) -> Any:
    """A text parsed as JSON or as a Python literal (never executed); the text itself if it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
            return text if unusable(value) is not None else value
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text
