"""The value of an arithmetic expression in LaTeX or plain notation, without letters."""

from __future__ import annotations

import math
import re

_LONGEST = 200
_TOKEN = re.compile(
    r"\s+|(?P<number>\d+(?:\.\d*)?|\.\d+)|(?P<command>\\[a-zA-Z]+)|(?P<sign>[-+*/:^(){}\[\]])"
)
_FACTORS = ("(", "{", "\\frac", "\\sqrt", "\\pi")  # may follow without an operator: 2\pi, 3(1+2)
_IGNORED = ("\\displaystyle", "\\textstyle")
_OPENING = {"(": ")", "{": "}", "[": "]"}


def latex_value(text: str) -> float | None:
    """The numerical value of an expression.

    Supports decimal numbers, + - * / : (a ratio is a quotient) and ^, brackets of all kinds, implicit
    products, `\\frac`, `\\sqrt` (with an optional degree), `\\pi` or the word pi, `\\cdot`, `\\times`,
    `\\div`.

    Args:
        text: without dollar signs.

    Returns:
        The value, or None for anything else (letters, equations, tuples), for a division by zero, a root of a
        negative number, or a value beyond the range of a float.
    """
    if len(text) > _LONGEST:
        return None
    text = re.sub(r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi ", text)
    text = re.sub(r"\\frac(\d)(?=[\d{])", r"\\frac{\1}", text)  # \frac12 takes one digit each
    text = re.sub(r"(\\frac\{\d\})(\d)", r"\1{\2}", text)
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match.lastgroup is not None and match.group() not in _IGNORED:
            tokens.append(match.group())
    try:
        value, end = _Reader(tokens).sum(0)
        return value if end == len(tokens) and math.isfinite(value) else None
    except (_NotRead, ArithmeticError, ValueError, RecursionError):
        return None


class _NotRead(Exception):
    """The tokens are not a supported expression."""


class _Reader:
    """Recursive descent over tokens; a method takes a position and returns a value and the next position."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]  # the end

    def sum(self, at: int) -> tuple[float, int]:
        total, at = self._product(at)
        while self._tokens[at] in ("+", "-"):
            sign = 1 if self._tokens[at] == "+" else -1
            term, at = self._product(at + 1)
            total += sign * term
        return total, at

    def _product(self, at: int) -> tuple[float, int]:
        total, at = self._signed(at)
        while True:
            token = self._tokens[at]
            if token in ("*", "\\cdot", "\\times"):
                factor, at = self._signed(at + 1)
                total *= factor
            elif token in ("/", ":", "\\div"):
                divisor, at = self._signed(at + 1)
                total /= divisor
            elif token in _FACTORS or (token[:1].isdigit() and self._tokens[at - 1] in ("}", ")")):
                factor, at = self._power(at)
                total *= factor
            else:
                return total, at

    def _signed(self, at: int) -> tuple[float, int]:
        if self._tokens[at] in ("+", "-"):
            value, end = self._signed(at + 1)
            return (value if self._tokens[at] == "+" else -value), end
        return self._power(at)

    def _power(self, at: int) -> tuple[float, int]:
        base, at = self._atom(at)
        if self._tokens[at] == "^":
            exponent, at = self._signed(at + 1)
            base = float(base) ** exponent
            if isinstance(base, complex):
                raise _NotRead
        return base, at

    def _atom(self, at: int) -> tuple[float, int]:
        token = self._tokens[at]
        if token and token[0] in "0123456789.":
            return float(token), at + 1
        if token in _OPENING:
            value, end = self.sum(at + 1)
            if self._tokens[end] != _OPENING[token]:
                raise _NotRead
            return value, end + 1
        if token == "\\pi":
            return math.pi, at + 1
        if token == "\\frac":
            above, at = self._atom(at + 1)
            below, at = self._atom(at)
            return above / below, at
        if token == "\\sqrt":
            degree = 2.0
            if self._tokens[at + 1] == "[":
                degree, at = self._atom(at + 1)
                at -= 1
            inside, at = self._atom(at + 1)
            if inside < 0:
                raise _NotRead
            return inside ** (1 / degree), at
        raise _NotRead
