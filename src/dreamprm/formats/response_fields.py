"""Which field of a row is the model's whole response, and which only the answer extracted from it.

Other projects name them alike: `prediction` is the response in VLMEvalKit's files and the extracted answer in
MathVista's, `model_answer` the extracted answer in MATH-V's files and the response in MathVerse's. The whole
response is the text that a PRM scores, so a short extraction must never take its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.formats.answer_fields import parsed_list
from dreamprm.formats.table_files import cell_text

WHOLE = ("full_response", "response", "output", "prediction")
"""Fields that hold the response, the surest first: of several, the first is it, the others are extracted."""

MESSAGES = "messages"
"""A conversation whose second message, and every second one after it, is the model's (M3CoT's files)."""

_SOMETIMES = ("model_answer", "pred")  # the response only next to an extraction, or if longer by far

EXTRACTED = ("extraction", "extracted", "extracted_answer", "model_answer", "res", "prediction", "pred")
"""Fields that may hold the extracted answer, the one to be judged first."""

FLAGS = ("true_false", "correct", "hit", "score", "match", "judgement", "if_right")
"""Fields that say whether the response is right, or how right, the surest first. URSA's `match` is 0 then."""

_LISTED = (*WHOLE, *_SOMETIMES, "extraction", "extracted", "extracted_answer", *FLAGS)

# URSA's responses end with "\u2020Answer: X", of which its files keep "Answer: X" as extracted.
_URSA_MARK, _HEADED = "\u2020Answer:", re.compile(r"^\s*\u2020?Answer:\s*")

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

    Of `messages`, the model's first is the response, and its last, if it has another, the extracted answer.
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
    if MESSAGES in row and field is None:
        return _of_messages(row)
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
    response = cell_text(row, chosen) or ""
    extracted = None if extracted_field is None else cell_text(row, extracted_field)
    if extracted is not None and _URSA_MARK in response:
        extracted = _HEADED.sub("", extracted)
    return ResponseFields(chosen, response, cell_text(row, "thinking"), extracted, extracted_field)


def samples(rows: Iterable[Fields | DataError]) -> Iterator[Fields | DataError]:
    """Rows with one response each: one with a list of responses, as it is given for each of them.

    Fields that hold a list of the same length (extractions, flags) go along, one value to each response. In a
    table's cell, such a list is a text with a Python list.
    """
    for row in rows:
        if not isinstance(row, Fields):
            yield row
            continue
        lists = {name: _listed(row.values[name]) for name in _LISTED if name in row}
        responses = next((lists[name] for name in (*WHOLE, *_SOMETIMES) if lists.get(name)), None)
        if responses is None:
            yield row
            continue
        whole = [name for name in (*WHOLE, *_SOMETIMES) if lists.get(name)]
        # A single text next to the list is an answer taken from one of them, a single flag that of one.
        single = (*WHOLE, *(FLAGS if len(responses) > 1 else ()))
        kept = {name: value for name, value in row.values.items() if name in whole or name not in single}
        for index in range(len(responses)):
            one = {
                name: values[index]
                for name, values in lists.items()
                if values and len(values) == len(responses)
            }
            graded = next((row.values[name] for name in WHOLE if name in row and name not in whole), None)
            if len(responses) == 1 and isinstance(graded, str) and graded.strip():
                one["extraction"] = graded  # the later one: We-Math's option, of URSA's extracted text
            yield row.with_values({**kept, **one})


def _listed(value: Any) -> list[Any] | None:
    """A list of texts, or a text with one; None if the value is neither."""
    if isinstance(value, str) and value[:2] in ("['", '["') and value.rstrip().endswith("]"):
        value = parsed_list(value)
    return value if isinstance(value, list) and value else None


def _of_messages(row: Fields) -> ResponseFields:
    messages = row.values[MESSAGES]
    if not isinstance(messages, list) or not all(isinstance(one, str) for one in messages):
        raise row.error(MESSAGES, "a list of texts, of which every second one is the model's")
    own = messages[1::2]
    if not own:
        raise row.error(MESSAGES, "a prompt, then the model's response")
    extracted = own[-1] if len(own) > 1 else None
    return ResponseFields(MESSAGES, own[0], None, extracted, None if extracted is None else f"{MESSAGES}[-1]")
