"""Removes LaTeX and Markdown formatting from an answer."""

from __future__ import annotations

import re

from dreamprm.responses.boxes import brace_pairs

# Commands whose argument is the text itself: \text{cm}, \mathrm{~cm}, \textbf{(B)}, \boxed{7}.
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|math(?:rm|bf|it|sf|tt|bb|cal|normal)|mbox|hbox|boxed|fbox|emph"
    r"|operatorname|bm|boldsymbol|underline)[ ]*(?=\{)"
)

_SPACES = re.compile(r"\\[,;:!> ]|\\q?quad\b|~")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits)(?![a-zA-Z])")
_MATH_MARKS = re.compile(r"\\[()\[\]]|\$\$")

# The content of one `$...$` pair. An unpaired dollar before a number is a currency sign and stays.
_MATH_PAIR = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")

_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")

_SYMBOLS = {
    "\u2212": "-",
    "\u2013": "-",
    "\u00d7": r"\times ",
    "\u00b7": r"\cdot ",
    "\u2044": "/",
    "\u03c0": r"\pi ",
    "\u221a": r"\sqrt ",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
    "\uff1a": ":",
    "\u2019": "'",
    "\u00b2": "^2",
    "\u00b3": "^3",
    "\u00bd": " 1/2",
    "\u00bc": " 1/4",
    "\u00be": " 3/4",
    "\u2260": r"\neq ",
}


def plain(text: str) -> str:
    """Remove an answer's formatting: math delimiters, fonts, sizes, spacing, emphasis and a final full stop.

    Use it before comparing an answer as a letter, a number or words. The mathematics itself (`\\frac`,
    `\\sqrt`, `^`) stays, and so do a currency's dollar sign (`\\$5`, `\\textdollar 5`, `$5`) and brackets.

    Args:
        text: an answer, of a few words or one line.

    Returns:
        The answer on one line, `\\dfrac` and `\\tfrac` as `\\frac`, Unicode signs as LaTeX or ASCII.
    """
    for sign, written in _SYMBOLS.items():
        text = text.replace(sign, written)
    text = _EMPHASIS.sub(r"\2", text)
    text = _MATH_PAIR.sub(r" \1 ", _MATH_MARKS.sub(" ", text))
    text = re.sub(r"\\\$|\\(?:text)?dollar(?![a-zA-Z])\s*", "$", text).replace(r"\%", "%").replace("{,}", ",")
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    # `1\,000` is one number; elsewhere a thin space separates.
    text = re.sub(r"(?<=\d)\\[,!](?=\d{3}(?!\d))", ",", text)
    text = _SPACES.sub(" ", _SIZES.sub("", text))
    text = re.sub(r"\^\{?\s*\\circ\s*\}?|\\degree\b", "\u00b0", text)
    text = _unwrapped(text)
    text = re.sub(r"\s+", " ", text).strip().strip("*`").strip()
    return re.sub(r"(?<=[^.])[.;,]$", "", text).strip()


def _unwrapped(text: str) -> str:
    """Every `\\text{...}` as its argument, and no braces around the whole."""
    pairs = brace_pairs(text)
    dropped: set[int] = set()
    for match in _WRAPPER.finditer(text):
        # If a command is cut off, the existing part of its argument stays.
        dropped.update(range(match.start(), match.end() + 1), [pairs.get(match.end(), match.end())])
    text = "".join(character for position, character in enumerate(text) if position not in dropped)
    # A group around the whole answer, `{parrot}`, is formatting too; a set is written `\{1, 2\}`.
    while (bare := text.strip()).startswith("{") and brace_pairs(bare).get(0) == len(bare) - 1:
        text = bare[1:-1]
    return text
