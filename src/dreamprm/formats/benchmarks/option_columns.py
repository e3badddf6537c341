"""Options in columns A, B, ..., as VLMEvalKit's tables hold them."""

from __future__ import annotations

from dreamprm.data.fields import Fields
from dreamprm.data.records import OPTION_LETTERS
from dreamprm.formats.cells import cell_text


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
