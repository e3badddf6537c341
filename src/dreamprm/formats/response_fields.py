"""Which field of a row is the model's whole response, and which only the answer extracted from it.

Other projects name them alike: `prediction` is the response in VLMEvalKit's files and the extracted answer in
MathVista's, `model_answer` the extracted answer in MATH-V's files and the response in MathVerse's. The whole
response is the text that a PRM scores, so a short extraction must never take its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dreamprm.data.fields import Fields
from dreamprm.formats.table_files import cell_text

WHOLE = ("full_response", "response", "output", "prediction")
"""Fields that hold the response, the surest first: of several, the first is it, the others are extracted."""

_SOMETIMES = ("model_answer", "pred")  # the response only next to an extraction, or if longer by far

EXTRACTED = ("extraction", "extracted", "extracted_answer", "model_answer", "res", "prediction", "pred")
"""Fields that may hold the extracted answer, the one to be judged first."""

# A text this many characters, and this many times, longer than the response is no extraction from it.
_LONGER_BY, _TIMES_LONGER = 80, 3


@dataclass(frozen=True, slots=True)
class ResponseFields:
    """A row's texts.

    Attributes:
        field: the field that holds the response.
        response: the whole response; "" if the model gave none.
        thinking: what the model wrote before it, if the row keeps that apart; never graded.
        extracted: the extracted answer, if the row has one.
        extracted_field: the field that holds it, or None.
    """

    field: str
    response: str
    thinking: str | None
    extracted: str | None
    extracted_field: str | None

    @property
    def text(self) -> str:
        """What the model wrote: its thinking, if any, and its response."""
        return self.response if self.thinking is None else f"{self.thinking}\n\n{self.response}"


def response_fields(row: Fields, *, field: str | None = None, options: Iterable[str] = ()) -> ResponseFields:
    """The response of a row and the answer extracted from it.

    Of the fields in `WHOLE` that the row has, the first is the response; without any, `model_answer` or
    `pred` next to an `extraction`. Only where another of these is longer by far, as no extraction is, that
    one is it (a prediction that is the text of an option does not count).

    Args:
        row: the row.
        field: the field that holds the response; None: as above.
        options: the texts of the question's options.

    Raises:
        DataError: the row has none of these fields, or the field is not a text.
    """
    if field is not None:
        if field not in row.values:
            raise row.missing(field, "the model's whole response (response_field names this field)")
        chosen = field
    else:
        present = [name for name in (*WHOLE, *_SOMETIMES) if name in row.values]
        if not present or (present[0] in _SOMETIMES and not any(name in row for name in EXTRACTED[:3])):
            raise row.missing("prediction or response", "the model's whole response")
        chosen = present[0]
        length = len(cell_text(row, chosen) or "")
        texts = {one.strip() for one in options}
        for name in present[1:]:
            other = (cell_text(row, name) or "").strip()
            if len(other) > max(_TIMES_LONGER * length, length + _LONGER_BY) and other not in texts:
                chosen, length = name, len(other)
    extracted_field = next((name for name in EXTRACTED if name != chosen and cell_text(row, name)), None)
    return ResponseFields(
        chosen,
        cell_text(row, chosen) or "",
        cell_text(row, "thinking"),
        None if extracted_field is None else cell_text(row, extracted_field),
        extracted_field,
    )
