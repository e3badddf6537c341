"""Numbers, compared exactly or after rounding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dreamprm.answers.base import Checker, Judgement, read_stated
from dreamprm.answers.plain import plain
from dreamprm.answers.quantity import SEVERAL_EQUATIONS, Quantity, only_quantity, read_quantity
from dreamprm.answers.units import canonical_unit, converted
from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.data.records import QuestionRecord
from dreamprm.responses import Stated

_ROUNDING = 1e-6


def tolerance_setting() -> Any:
    """The declaration of `NumericChecker.tolerance`, shared with the checker that passes it on."""
    return setting(
        _ROUNDING,
        "largest relative difference between two numbers if nothing is rounded",
        minimum=0,
        below=1,
        advice="0 requires equal numbers",
    )


@dataclass(frozen=True)
class NumericChecker(Checker):
    """Right if the stated number equals the question's, after rounding as the question specifies.

    With `precision`, both numbers are rounded to that many decimals, as MathVista's evaluation does for
    answers of type float (`round(float(x), precision)`, evaluation/calculate_score.py of
    github.com/lupantech/MathVista). Without it, the reference shows how far it was rounded: a stated number
    is rounded to the reference's decimals (2.52 equals 2.5). Whole references, fractions and powers of ten
    are not rounded: the two numbers may differ by `tolerance`, relative to the reference. Unless `tolerance`
    is above its default, a number must also be within 1/2 of a whole reference: 1000001 is not 1000000.
    Departures from
    MathVista: a tie is right either way (0.125 equals 0.12, as Python rounds, and 0.13, as people do); an
    integer is not truncated (MathVista's `int(float(x))` reads 5.9 as 5).

    Units: a known unit (`units.py`) on one side only is ignored. Units of one dimension are converted (500 cm
    is 5 m, 5 km is not); units of different dimensions are undecided. Any other words name what is counted
    ("5 apples"). A percentage is compared with a percentage; if the reference r has no sign, 25% is right for
    r = 0.25, and for r = 25 (|r| > 1, or `unit` is %). In a sentence with several numbers, the one after the
    last "=" or "is" counts if it ends the sentence; otherwise the answer is undecided.

    Attributes:
        tolerance: largest relative difference if nothing is rounded, >= 0.
    """

    tolerance: float = tolerance_setting()

    def __post_init__(self) -> None:
        check_settings(self)

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the number; `extracted` is the answer as read."""
        stated = read_stated(response)
        if isinstance(stated, Judgement):
            return stated
        return self.compare(stated, question)

    def compare(self, stated: Stated, question: QuestionRecord) -> Judgement:
        """Judge an answer that has already been extracted from a response."""
        extracted = plain(stated.text)
        reference = read_quantity(question.answer)
        if reference is None:
            return Judgement("undecided", extracted, f"the reference {question.answer!r} is not a number")
        given = read_number(extracted)
        if given is None:
            reason = f"{stated.how}: no number or several"
            # 5-6 is a range or a difference, 3:4 a ratio or a quotient.
            unread = _RANGE.match(extracted) is None and _RATIO.search(extracted) is None
            return Judgement("undecided", extracted or None, reason, unread=unread)
        extracted = given.written
        unit = reference.unit or (canonical_unit(question.unit) if question.unit else None)
        in_percent = reference.percent or (question.unit or "").strip() in ("%", "percent")
        values: list[Fraction] | None = _readings(given, reference.value, in_percent)
        if (given.unit and in_percent) or (given.percent and unit):
            values = None
        elif given.unit and unit:
            value = converted(given.value, given.unit, unit)
            values = None if value is None else [value]
        if values is None:
            units = f"{given.unit or '%'} and {unit or '%'}"
            return Judgement("undecided", extracted, f"{stated.how}: the units differ, {units}")
        if any(self._equal(value, reference, question) for value in values):
            return Judgement("right", extracted, f"{stated.how}: the same number")
        if not stated.marked:
            reason = "no answer is marked, and the last line has another number"
            return Judgement("undecided", extracted, reason)
        if any(_may_be_grouped(value, reference.value) for value in values):
            return Judgement("undecided", extracted, f"{stated.how}: a point or comma may group thousands")
        return Judgement("wrong", extracted, f"{stated.how}: a different number")

    def _equal(self, value: Fraction, reference: Quantity, question: QuestionRecord) -> bool:
        if question.answer_type == "integer" and reference.value.denominator == 1:
            return value == reference.value
        decimals = question.precision
        if decimals is None:
            # A whole number may be a count: it says nothing about rounding.
            decimals = reference.decimals or None
        if decimals is None:
            allowed = Fraction(self.tolerance) * abs(reference.value)
            if reference.decimals == 0 and self.tolerance <= _ROUNDING:
                # 1000001 is no rounded 1000000; a larger tolerance has been asked for.
                allowed = min(allowed, Fraction(1, 2))
            return abs(value - reference.value) <= allowed
        step = Fraction(1, 10**decimals)
        return abs(value - round(reference.value / step) * step) <= step / 2


def _may_be_grouped(one: Fraction, other: Fraction) -> bool:
    """Whether one number is the other with its point or comma read the other way: 1.234 and 1,234."""
    low, high = sorted((abs(one), abs(other)))
    return high == 1000 * low and 1 <= low < 1000 and high.denominator == 1 and high % 10 != 0


def _readings(given: Quantity, reference: Fraction, in_percent: bool) -> list[Fraction]:
    """The numbers that a stated one may mean, given whether the reference is in percent."""
    if in_percent:
        # 25 and 25% are the same; 0.25 may be the same as a fraction.
        return [given.value] if given.percent else [given.value, given.value * 100]
    if given.percent:
        # A reference with |r| > 1 can only be a percentage whose sign was left out.
        return [given.value / 100, given.value] if abs(reference) > 1 else [given.value / 100]
    return [given.value]


_RATIO = re.compile(r"\d\s*:\s*\d")
_RANGE = re.compile(r"^\d[\d.,]*\s*-\s*\d[\d.,]*(?:\s*[^\W\d_]+)?$")
_DENIED = re.compile(
    r"\b(?:no|not|never|cannot|neither|suppose|assume|assuming|whether|if)\b|n't\b", re.IGNORECASE
)


def read_number(text: str) -> Quantity | None:
    """The number that is the whole text, that ends it after "=" or "is", or that is the only one in it."""
    quantity = read_quantity(text)
    if quantity is not None:
        return quantity
    if len(text) <= 400 and (SEVERAL_EQUATIONS.search(text) or _RATIO.search(text)):
        return None
    # The last "=" or ":"; failing that, the first verb.
    end = re.compile(r"[=:]|\b(?:is|are|equals)\b").search(text, max(text.rfind("="), text.rfind(":"), 0))
    if end is not None and not _DENIED.search(re.split(r"[,;.]\s", text[: end.start()])[-1]):
        quantity = read_quantity(text[end.end() :])
        if quantity is not None:
            return quantity
    return only_quantity(text)
