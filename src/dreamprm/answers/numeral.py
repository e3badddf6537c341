"""Numerals in all their spellings, as exact numbers, and the words for small numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType


@dataclass(frozen=True)
class Numeral:
    """A number and where it ends in the text.

    Attributes:
        value: exact.
        decimals: digits after the point, 0 for a whole number; None if it is not a decimal number (a fraction
            or a power of ten), so that it does not show how it was rounded.
        end: the position after it.
    """

    value: Fraction
    decimals: int | None
    end: int


# 12,000 and 12 000 are one number; 12,5 and 1,2,3 are not.
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?: \d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+|\.(?!\d))?|\.\d+)"
_SIGN = r"(?P<sign>[-+]?)\s*"
# No answer has an exponent of more than four digits; the limit bounds the work.
_EXPONENT = r"(?:\{\s*(?P<braced>[-+]?\d{1,4})\s*\}|(?P<open>[-+]?\d{1,4})(?!\d))"

_MIXED_FRAC = re.compile(
    rf"{_SIGN}(?P<whole>\d+)\s*\\frac\s*\{{\s*(?P<over>\d+)\s*\}}\s*\{{\s*(?P<under>\d+)\s*\}}"
)
_MIXED_SHORT = re.compile(rf"{_SIGN}(?P<whole>\d+)\s*\\frac\s*(?P<over>\d)\s*(?P<under>\d)")
_MIXED_SLASH = re.compile(rf"{_SIGN}(?P<whole>\d+)\s(?P<over>\d+)\s*/\s*(?P<under>\d+)(?![\d.])")
_FRAC = re.compile(rf"{_SIGN}\\frac\s*\{{\s*(?P<over>-?{_DECIMAL})\s*\}}\s*\{{\s*(?P<under>{_DECIMAL})\s*\}}")
_FRAC_SHORT = re.compile(rf"{_SIGN}\\frac\s*(?P<over>\d)\s*(?:(?P<under>\d)|\{{\s*(?P<group>\d+)\s*\}})")
_SLASH = re.compile(rf"{_SIGN}(?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})(?![\d.])")
_POWER = re.compile(rf"{_SIGN}10\s*\^\s*{_EXPONENT}")
_SCIENTIFIC = re.compile(
    rf"{_SIGN}(?P<digits>{_DECIMAL})"
    rf"(?:[eE](?P<e>[-+]?\d{{1,4}})(?![\d.])|\s*(?:\\times|\\cdot|x|\*)\s*10\s*(?:\^|\*\*)\s*{_EXPONENT})"
)
_PLAIN = re.compile(rf"{_SIGN}(?P<digits>{_DECIMAL})")

# 1.234.567 and 1.234,5 as in German, 1'234'567 as in Switzerland. 1.234 is a decimal number, and 3,5 may be
# two.
_GROUPED = re.compile(
    rf"{_SIGN}(?P<digits>\d{{1,3}}(?:(?:\.\d{{3}}){{2,}}|(?:\.\d{{3}})+(?=,\d)|(?:['\u2019]\d{{3}})+))(?!\d)"
    r"(?:,(?P<places>\d+))?(?![.,']?\d)"
)

_LONGEST = 120

START = re.compile(r"(?:[-+]\s*)?(?:\\frac|\.?\d)")
"""Matches where a numeral may begin."""


def numeral_at(text: str, start: int = 0) -> Numeral | None:
    """The numeral that begins at a position, in the longest spelling that fits.

    It reads decimals (`.5`, `5.`), thousands separated by commas or spaces (`12,000`, `12 000`), simple and
    mixed fractions (`3/4`, `\\frac{3}{4}`, `\\frac34`, `1 1/2`) and powers of ten (`1.2e-3`, `1.2 \\times
    10^{-3}`, `10^5`), thousands separated by at least two dots (`1.234.567`), and a decimal comma after a
    thousands' dot (`1.234,5`), but no other decimal commas: `3,5` may be two numbers.

    Returns:
        The numeral; None if none begins there, it divides by zero, or it has more than 120 characters.
    """
    for pattern, read in _SPELLINGS:
        match = pattern.match(text, start)
        if match is not None:
            # Python refuses to convert thousands of digits, and no answer has them.
            return read(match) if match.end() - start <= _LONGEST else None
    return None


def _mixed(match: re.Match[str]) -> Numeral | None:
    if int(match["under"]) == 0:
        return None
    value = int(match["whole"]) + Fraction(int(match["over"]), int(match["under"]))
    return _signed(match, value, None)


def _fraction(match: re.Match[str]) -> Numeral | None:
    under = _number(match["under"] or match["group"])
    return _signed(match, _number(match["over"]) / under, None) if under else None


def _power(match: re.Match[str]) -> Numeral:
    return _signed(match, Fraction(10) ** int(match["braced"] or match["open"]), None)


def _scientific(match: re.Match[str]) -> Numeral:
    exponent = int(match["e"] or match["braced"] or match["open"])
    return _signed(match, _number(match["digits"]) * Fraction(10) ** exponent, None)


def _grouped(match: re.Match[str]) -> Numeral:
    places = match["places"] or ""
    digits = re.sub(r"\D", "", match["digits"])
    return _signed(match, Fraction(f"{digits}.{places or 0}"), len(places))


def _plain(match: re.Match[str]) -> Numeral:
    return _signed(match, _number(match["digits"]), len(match["digits"].partition(".")[2]))


def _signed(match: re.Match[str], value: Fraction, decimals: int | None) -> Numeral:
    return Numeral(-value if match["sign"] == "-" else value, decimals, match.end())


def _number(written: str) -> Fraction:
    digits = written.replace(",", "").replace(" ", "").rstrip(".")
    return Fraction(digits.replace(".", "0.", 1) if digits.lstrip("-").startswith(".") else digits)


_SPELLINGS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Numeral | None]], ...] = (
    (_MIXED_FRAC, _mixed),
    (_MIXED_SHORT, _mixed),
    (_MIXED_SLASH, _mixed),
    (_FRAC, _fraction),
    (_FRAC_SHORT, _fraction),
    (_SLASH, _fraction),
    (_POWER, _power),
    (_SCIENTIFIC, _scientific),
    (_GROUPED, _grouped),
    (_PLAIN, _plain),
)


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

WORDS: Mapping[str, int] = MappingProxyType(
    {word: value for value, word in enumerate(_ONES)}
    | {word: 10 * value for value, word in enumerate(_TENS, start=2)}
    | {
        f"{tens}{joint}{ones}": 10 * value + one
        for value, tens in enumerate(_TENS, start=2)
        for one, ones in enumerate(_ONES[1:10], start=1)
        for joint in "- "
    }
)
"""Zero to ninety-nine, in lower case; "twenty-one" and "twenty one"."""
