"""Questions, options and answers as foreign files state them, in our form: texts, letters, numbers."""

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
    """The options that one field holds: a list of texts or numbers, or a text with such a list.

    A text is read as JSON or as a Python list (as MMMU writes it), which is parsed, never executed.

    Raises:
        DataError: no such list, an empty option, or more options than letters.
    """
    value = row.require(name, "a list of options")
    if isinstance(value, str):
        value = parsed_list(value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise row.error(name, "a list of options, or a text with a JSON or Python list")
    return checked_options(row, name, value)


def checked_options(row: Fields, name: str, values: Sequence[Any]) -> tuple[str, ...]:
    """Texts or numbers as the texts of options.

    Raises:
        DataError: an option that is empty or neither, or more options than letters.
    """
    if len(values) > len(OPTION_LETTERS):
        raise row.error(name, f"at most {len(OPTION_LETTERS)} options", f"{len(values)} options")
    texts = [plain_text(value) for value in values]
    for index, text in enumerate(texts):
        if text is None:
            raise row.error(f"{name}[{index}]", "a text that is not empty, or a number", values[index])
    return tuple(text for text in texts if text is not None)


def option_columns(row: Fields) -> tuple[str, ...]:
    """The options of the columns A, B, ... in order; none where all are empty.

    Raises:
        DataError: a column is empty and a later one is not: letters must not move.
    """
    options = lettered_columns(row)
    pairs = zip(OPTION_LETTERS, options, strict=False)
    gap = next((letter for letter, given in pairs if given != letter), None)
    if gap is not None:
        raise row.error(gap, "an option: a later one is given, and letters must not move")
    return tuple(options.values())


def lettered_columns(row: Fields) -> dict[str, str]:
    """The options of the columns A, B, ... by letter, those that are not empty."""
    cells = {letter: cell_text(row, letter) for letter in OPTION_LETTERS}
    return {letter: text for letter, text in cells.items() if text is not None}


def letter_at(row: Fields, name: str, options: Sequence[str], *, first: int = 0) -> str:
    """The letter of the option whose number a field holds; options are numbered from `first` on.

    Raises:
        DataError: no whole number (or its digits), or none of an option.
    """
    allowed = f"the number of an option, {first} to {first + len(options) - 1}"
    value = row.require(name, allowed)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():  # a column with gaps is stored as floats
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not first <= value < first + len(options):
        raise row.error(name, allowed)
    return OPTION_LETTERS[value - first]


def letter_given(row: Fields, name: str, options: Sequence[str]) -> str:
    """The letter that a field holds: `B`, `b`, `(B)` or `B.`.

    Raises:
        DataError: no letter of an option.
    """
    letters = OPTION_LETTERS[: len(options)]
    allowed = f"one of the letters {', '.join(letters)}"
    value = row.require(name, allowed)
    letter = value.strip("(). \n").upper() if isinstance(value, str) else ""
    if len(letter) != 1 or letter not in letters:
        raise row.error(name, allowed)
    return letter


def with_context(row: Fields, context: str | None) -> str:
    """The text in `question`, after that of the field `context` where there is one."""
    before = (row.optional_text(context) or "").strip() if context is not None else ""
    text = row.text("question").strip()
    return f"{before}\n{text}" if before else text


def number_type(text: str) -> str | None:
    """`integer` or `float` where a text is written as such a number and nothing else, or None.

    Texts with units, signs of money, thousands commas or fractions are None.
    """
    if _INTEGER.fullmatch(text):
        return "integer"
    return "float" if _DECIMAL.fullmatch(text) else None


def decimals_for(text: str, significant: int) -> int | None:
    """The decimals to which a number is rounded so that at most `significant` digits are kept.

    Never more than it is written with, nor fewer than 0; None where it is no decimal number.
    """
    if number_type(text) != "float":
        return None
    written = len(text.partition(".")[2])
    size = abs(float(text))
    if size == 0:
        return written
    return max(0, min(written, significant - 1 - math.floor(math.log10(size))))


def parsed_list(text: str) -> Any:
    """What a text holds as JSON or in Python's notation, which is parsed, never executed; else the text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text
