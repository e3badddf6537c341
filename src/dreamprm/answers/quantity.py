"""Reads a number with its unit from a short text; knows the spellings of common units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dreamprm.answers.numeral import START, WORDS, Numeral, numeral_at
from dreamprm.answers.plain import plain
from dreamprm.answers.units import canonical_unit


@dataclass(frozen=True)
class Quantity:
    """A number as it was written.

    Attributes:
        value: exact; for a percentage, the number before the sign (25% has the value 25).
        decimals: as in `Numeral`.
        percent: whether a percent sign follows.
        unit: the canonical spelling of a known unit ("cm", "m^2"), or None; other words are ignored.
        written: the number with the text that was read as its unit.
    """

    value: Fraction
    decimals: int | None
    percent: bool
    unit: str | None
    written: str


_CURRENCY = re.compile(r"^([-+]?)\s*(US\$|\$|\u20ac|\u00a3|\u00a5|USD|EUR)\s*(?=[-+.\d])")
_LEAD = re.compile(
    r"^(?:about|approximately|approx\.?|around|roughly|nearly|exactly|only|just|\\sim|[=:])"
    r"\s*",
    re.IGNORECASE,
)

_ABOUT = re.compile(r"\\approx(?:eq)?(?![a-zA-Z])|\\simeq(?![a-zA-Z])|\u2248")

# `x = 5`, `\angle ABC = 40`, `2 + 3 = 5`: the number is after the last equals sign. `3x = 5` and `x = 2, y =
# 3` do not state the number after it.
_EQUATION = re.compile(r"^(?!\s*\d+\s*\\?[a-zA-Z])[^<>,;]*(?<![<>!:])=\s*(?=[^=\s])(?=[^=]*$)")

# What may follow a number: a unit or words, but no operators, letters with powers or further numbers.
_REST = re.compile(
    r"^[\s-]*+(?:%|\u00b0[CF]?|[a-zA-Z][a-zA-Z.'-]*+(?:\s*\^\s*+\{?\s*+[23]\s*\}?)?|[/()\u20ac\u00a3$\u03bc]"
    r"|,(?=\s*[a-zA-Z])|\s)*+$"
)
# `5 and a half`, `5 or more`, `two thirds`: the number is only part of the answer.
_JOINED = re.compile(
    r"\b(?:or|and|to|plus|minus|through|half|halves|thirds?|quarters?|fourths?|fifths?|dozen|if|unless|assuming"
    r"|provided|but|not|otherwise|maybe|possibly|perhaps)\b",
    re.IGNORECASE,
)
# 293 (= 256 + 37), 5 (approximately 5.02): the brackets repeat the number.
_REPEATED = re.compile(
    r"\s*\(\s*(?:=|\\approx|\u2248|i\.e\.|that\s+is|which\s+is|approximately|approx|about|exactly|because"
    r"|since|from)"
    r"[^()]*\)"
)
# 293 = 256 + 37: the number comes first.
_FIRST_SIDE = re.compile(
    r"^([^=<>]*\d[^=<>]*)=[\d\s.,+\-*/()^{}]*(?:\\(?:times|cdot|frac)[\d\s.,+\-*/()^{}]*)*$"
)
# x = 7 or x = 2: the last of them is not the answer.
SEVERAL_EQUATIONS = re.compile(r"[=:].*(?:\b(?:or|and)\b|[,;]).*[=:]", re.IGNORECASE)
_NEGATIVE = re.compile(r"^(?:minus|negative)\s+(?=[\d.]|[a-z])", re.IGNORECASE)
DENIED = re.compile(
    r"\b(?:not|cannot|neither|if|unless|assuming|minus|negative|or|than|except|dozen|suppose|assume|between"
    r"|no\s+longer|at\s+(?:least|most)|up\s+to"
    r"|assuming|whether)\b|n't\b",
    re.IGNORECASE,
)
_PER = re.compile(r"\s*(?:/|per\b)", re.IGNORECASE)
_PERCENT = re.compile(r"\s*(?:%|percent\b|per\s?cent\b)", re.IGNORECASE)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(rf"\s*({'|'.join(_SCALES)})\b", re.IGNORECASE)
_WORD = re.compile(rf"({'|'.join(sorted(WORDS, key=len, reverse=True))})\b(?!-)", re.IGNORECASE)

_LONGEST = 120
"""Longer texts are not quantities."""


def read_quantity(text: str) -> Quantity | None:
    """Read a text that is a number with its unit and contains nothing else.

    It reads numerals (`numeral_at`), percentages, a currency before or a unit after the number, words for
    what is counted, number words up to ninety-nine and the scales from hundred to trillion (`3 million`),
    also after `x =` or "about".

    Args:
        text: an answer, with or without LaTeX.

    Returns:
        The quantity; None for everything else, such as `2\\pi`, `3:4` and `3 or 4`.
    """
    text = plain(text)
    if len(text) > _LONGEST:
        return None
    text = _ABOUT.sub("=", _REPEATED.sub("", text))
    if SEVERAL_EQUATIONS.search(text):
        return None
    first = _FIRST_SIDE.match(text)
    sides = (_EQUATION.sub("", text), *([first[1]] if first is not None else []))
    return next(filter(None, map(_one_side, sides)), None)


def _one_side(text: str) -> Quantity | None:
    while match := _LEAD.match(text):
        text = text[match.end() :]
    text = _NEGATIVE.sub("-", text).strip()
    if text.startswith("(") and text.endswith(")") and "," not in text:
        text = text[1:-1].strip()
    currency = _CURRENCY.match(text)
    amount = currency[1] + text[currency.end() :] if currency is not None else text
    word = _WORD.match(amount)
    numeral = numeral_at(amount) if word is None else Numeral(Fraction(WORDS[word[1].lower()]), 0, word.end())
    if numeral is None:
        return None
    rest, value, decimals = amount[numeral.end :], numeral.value, numeral.decimals
    scale = _SCALE.match(rest)
    if scale is not None:
        rest, value, decimals = rest[scale.end() :], value * 10 ** _SCALES[scale[1].lower()], None
    if not _REST.match(rest) or _JOINED.search(rest) or (word is None and _is_product(rest)):
        return None
    percent = _PERCENT.match(rest) is not None
    if currency is not None:  # "$5 per year": the currency is divided by what follows
        rest = currency[2] + rest if _PER.match(rest) else currency[2]
    unit = None if percent else canonical_unit(rest)
    return Quantity(value, decimals, percent, unit, text)


_BEFORE = re.compile(r"(?:[-+*/^=<>:{]|\\times|\\cdot|\\pm|\\sqrt)\s*$")
_BEHIND = re.compile(r"\s*(?:[\\^*+/=<>:]\s*\S|-\s*[\d\\(])|!(?!\s)|!\s*$|\+\s*$|[a-zA-Z](?![a-zA-Z])")
_LETTER_BEHIND = re.compile(r"\s*([a-zA-Z])(?![a-zA-Z]|\s+[a-zA-Z])")
_CONSTANT = re.compile(r"\\(?:infty|pi|sqrt|theta|alpha|cup|cap|pm)(?![a-zA-Z])")
_UNIT = re.compile(r"[\s-]*(?:%|[\u00b0a-zA-Z$\u20ac\u00a3]+(?:\s*\^\s*\{?[23]\}?)?)?")


def only_quantity(text: str) -> Quantity | None:
    """The only number in a sentence, with the unit after it.

    Use it if `read_quantity` finds that a text is more than a number. Digits in names (x_1, A4) do not count.

    Returns:
        The quantity; None if the sentence contains no number, several, or one that is part of an expression
        (`8 - 6\\pi`).
    """
    text = plain(text)
    if DENIED.search(text) or _CONSTANT.search(text):
        return None
    found: list[Quantity] = []
    position = 0
    while (start := START.search(text, position)) is not None and not found[1:]:
        position = start.end()
        if start.start() > 0 and (text[start.start() - 1].isalnum() or text[start.start() - 1] == "_"):
            while position < len(text) and text[position].isdigit():
                position += 1
            continue
        numeral = numeral_at(text, start.start())
        if numeral is None or _BEFORE.search(text[: start.start()]) or _BEHIND.match(text, numeral.end):
            return None
        letter = _LETTER_BEHIND.match(text, numeral.end)
        if letter is not None and canonical_unit(letter[1]) is None:
            return None  # 2 x is a product
        position = numeral.end
        unit = _UNIT.match(text, position)
        assert unit is not None  # it matches the empty text
        percent = unit[0].strip().lower() in ("%", "percent")
        found.append(
            Quantity(
                numeral.value,
                numeral.decimals,
                percent,
                None if percent else canonical_unit(unit[0]),
                text[start.start() : unit.end()].strip(),
            )
        )
    return found[0] if len(found) == 1 else None


def _is_product(rest: str) -> bool:
    """Whether the text after a number makes it a product, `5x` or `5ab`, instead of being a unit or words."""
    letters = re.match(r"(\s*)([a-zA-Z]+)", rest)
    if letters is None or canonical_unit(letters[2]) is not None:
        return False
    return len(letters[2]) == 1 or (len(letters[2]) == 2 and not letters[1])
