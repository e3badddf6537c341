"""Removes LaTeX and Markdown formatting from an answer."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left

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

_OPENS_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)")
_CLOSES_EMPHASIS = {mark: re.compile(rf"(?<=\S)(?={re.escape(mark)})") for mark in ("**", "__")}

_SYMBOLS = {
    "\u2212": "-",
    "\u2013": "-",
    "\u00d7": r"\times ",
    "\u00b7": r"\cdot ",
    "\u2044": "/",
    "\u03c0": r"\pi ",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
    "\uff1a": ":",
    "\u2019": "'",
    "\u2011": "-",
    "\u2010": "-",
    "\u2236": ":",
    "\u2264": r"\leq ",
    "\u2265": r"\geq ",
    "\u00b1": r"\pm ",
    "\u221e": r"\infty ",
    "\u00ba": "\u00b0",
    "\u2103": "\u00b0C",
    "\u2109": "\u00b0F",
    "\u00b5": "\u03bc",
    "\u2126": "\u03a9",
    "\u3010": "(",
    "\u3011": ")",
    "\u3014": "(",
    "\u3015": ")",
    "\u3001": ", ",
    "\u3002": ". ",
    "\u201c": '"',
    "\u201d": '"',
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
    if not text.isascii():
        text = _in_ascii(text)
    text = _TIMES.sub(r" \\times ", text)
    if "**" in text or "__" in text:
        text = "\n".join(map(_without_emphasis, text.split("\n")))
    text = _MATH_PAIR.sub(r" \1 ", _MATH_MARKS.sub(" ", text))
    text = re.sub(r"\\\$|\\(?:text)?dollar(?![a-zA-Z])\s*", "$", text).replace(r"\%", "%").replace("{,}", ",")
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    # `1\,000` is one number; elsewhere a thin space separates.
    text = re.sub(r"(?<=\d)\\[,!](?=\d{3}(?!\d))", ",", text)
    text = _SPACES.sub(" ", _SIZES.sub("", text))
    text = re.sub(r"\^\{?\s*\\circ\s*\}?|\\degree\b", "\u00b0", text)
    text = _unwrapped(text)
    text = re.sub(r"\s+", " ", text).strip().strip("*`").strip()
    text = _QUOTED.sub(r"\1\3\4", text)
    return re.sub(r"(?<=[^.])[.;,]$", "", text).strip()


# 3 x 10^5, 2 x 3
_TIMES = re.compile(r"(?<=\d)\s*[xX]\s*(?=\d)(?<!\b0x)")
# "food", ["D"]
_QUOTED = re.compile(r"^([(\[]?)([\"'])([^\"']+)\2([)\]]?)$")
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f", "0123456789+-n"
)
_SUBSCRIPTS = str.maketrans(
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u208a\u208b", "0123456789+-"
)
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b\u207f]+")
_LOWERED = re.compile("[\u2080-\u208b]+")
_ROOT = re.compile(r"\u221a\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[a-zA-Z])|(?=\{))")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_FRACTIONS = re.compile("(?<!\\d)(\\d*+)([\u00bc-\u00be\u2150-\u215e])")


def _without_emphasis(line: str) -> str:
    """A line without its pairs of `**` or `__`: each opens before a character and closes after one.

    Not a regular expression, which searches the rest of the line again for every mark that nothing closes.
    """
    closing = {mark: [at.start() for at in find.finditer(line)] for mark, find in _CLOSES_EMPHASIS.items()}
    pieces, position = [], 0
    search = 0
    while opened := _OPENS_EMPHASIS.search(line, search):
        ends = closing[opened[1]]
        found = bisect_left(ends, opened.end() + 1)
        if found == len(ends):
            search = opened.start() + 1
            continue
        pieces += [line[position : opened.start()], line[opened.end() : ends[found]]]
        position = search = ends[found] + 2
    return "".join((*pieces, line[position:]))


def _in_ascii(text: str) -> str:
    """Signs of Unicode as LaTeX or ASCII: superscripts, roots, fractions, full-width letters and brackets."""
    text = text.translate(_FULL_WIDTH)
    text = _RAISED.sub(lambda match: _grouped("^", match.group().translate(_SUPERSCRIPTS)), text)
    text = _LOWERED.sub(lambda match: _grouped("_", match.group().translate(_SUBSCRIPTS)), text)
    text = _ROOT.sub(
        lambda match: rf"\sqrt{{{match[1] or match[2]}}}" if match[1] or match[2] else r"\sqrt", text
    )
    text = _FRACTIONS.sub(_fraction, text)
    for sign, written in _SYMBOLS.items():
        text = text.replace(sign, written)
    return text


def _grouped(mark: str, digits: str) -> str:
    return mark + (digits if len(digits) == 1 else f"{{{digits}}}")


def _root(match: re.Match[str]) -> str:
    under = match[1] or match[2]
    return rf"\sqrt{{{under}}}" if under else r"\sqrt"


def _fraction(match: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", match[2]).partition("\u2044")
    return f"{match[1]} {over}/{under}"


def _unwrapped(text: str) -> str:
    """Every `\\text{...}` as its argument, and no braces around the whole."""
    pairs = brace_pairs(text)
    dropped: set[int] = set()
    for match in _WRAPPER.finditer(text):
        # If a command is cut off, the existing part of its argument stays.
        dropped.update(range(match.start(), match.end() + 1), [pairs.get(match.end(), match.end())])
    text = "".join(character for position, character in enumerate(text) if position not in dropped)
    # A group around the whole answer, `{parrot}`, is formatting too; a set is written `\{1, 2\}`.
    pairs, begin, end = brace_pairs(text), 0, len(text)
    while True:
        while begin < end and text[begin].isspace():
            begin += 1
        while end > begin and text[end - 1].isspace():
            end -= 1
        if begin == end or pairs.get(begin) != end - 1:
            return text[begin:end]
        begin, end = begin + 1, end - 1
