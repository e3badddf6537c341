"""An answer without the dress that LaTeX and Markdown put on it."""

from __future__ import annotations

import re

# Commands whose argument is the text itself: \text{cm}, \mathrm{~cm}, \textbf{(B)}, \boxed{7}.
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|math(?:rm|bf|it|sf|tt|bb|cal|normal)|mbox|hbox|boxed|fbox|emph"
    r"|operatorname|bm|boldsymbol|underline)[ ]*(?=\{)"
)

_SPACES = re.compile(r"\\[,;:!> ]|\\q?quad\b|~")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits)(?![a-zA-Z])")
_MATH_MARKS = re.compile(r"\\[()\[\]]|\$\$")

# What one `$...$` pair holds. A dollar before a number that has no partner is a currency and stays.
_MATH_PAIR = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")

_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")

_SYMBOLS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u2044": "/", "\u03c0": r"\pi ",
    "\u221a": r"\sqrt ", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\uff1a": ":", "\u2019": "'",
    "\u00b2": "^2", "\u00b3": "^3", "\u00bd": " 1/2", "\u00bc": " 1/4", "\u00be": " 3/4", "\u2260": r"\neq ",
}


def plain(text: str) -> str:
    """Take off what only says how an answer is set: math marks, fonts, sizes, spacing, emphasis, an end stop.

    Use it before an answer is compared as a letter, a number or words. The mathematics itself
    (`\\frac`, `\\sqrt`, `^`) stays; so do a currency's dollar (`\\$5`, `\\textdollar 5`, `$5`) and
    brackets.

    Args:
        text: an answer, a few words or one line.

    Returns:
        The answer on one line, `\\dfrac` and `\\tfrac` as `\\frac`, Unicode signs as LaTeX or ASCII.
    """
    for sign, written in _SYMBOLS.items():
        text = text.replace(sign, written)
    text = _EMPHASIS.sub(r"\2", text)
    text = _MATH_PAIR.sub(r" \1 ", _MATH_MARKS.sub(" ", text))
    text = re.sub(r"\\\$|\\(?:text)?dollar(?![a-zA-Z])", "$", text).replace(r"\%", "%").replace("{,}", ",")
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    # `1\,000` is one number; elsewhere the thin space separates.
    text = re.sub(r"(?<=\d)\\[,!](?=\d{3}(?!\d))", ",", text)
    text = _SPACES.sub(" ", _SIZES.sub("", text))
    text = re.sub(r"\^\{?\s*\\circ\s*\}?|\\degree\b", "\u00b0", text)
    text = _unwrapped(text)
    text = re.sub(r"\s+", " ", text).strip().strip("*`").strip()
    return re.sub(r"(?<=[^.])[.;,]$", "", text).strip()


def braced(text: str, start: int) -> tuple[str, int] | None:
    """The argument that opens at `text[start]` == "{", and the position behind its closing brace.

    Returns:
        None where the brace is never closed (a response that was cut off).
    """
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "\\":
            continue
        escaped = position > 0 and text[position - 1] == "\\"
        if text[position] == "{" and not escaped:
            depth += 1
        elif text[position] == "}" and not escaped:
            depth -= 1
            if depth == 0:
                return text[start + 1 : position], position + 1
    return None


def _unwrapped(text: str) -> str:
    """Every `\\text{...}` as its argument, from the outside in."""
    while match := _WRAPPER.search(text):
        argument = braced(text, match.end())
        if argument is None:
            # Cut off: the command goes, what is there of its argument stays.
            text = text[: match.start()] + text[match.end() + 1 :]
        else:
            text = text[: match.start()] + argument[0] + text[argument[1] :]
    # A group around the whole answer, `{parrot}`, is dress as well; a set is written `\{1, 2\}`.
    while text.strip().startswith("{"):
        argument = braced(text.strip(), 0)
        if argument is None or argument[1] != len(text.strip()):
            break
        text = argument[0]
    return text
