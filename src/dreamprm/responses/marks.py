"""The marks by which responses say what their answer is, in the languages of common models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dreamprm.responses.boxes import (
    brace_pairs,
    last_box,
    unwrapped,
    without_emphasis,
    without_surplus_brackets,
)
from dreamprm.responses.headings import MARKS, unmarked
from dreamprm.responses.mark_patterns import (
    ANSWER_COLON,
    ANSWER_HEADING,
    ANSWER_IS,
    CHINESE,
    DECLINES,
    FINAL_ANSWER,
    GOES_ON,
    HASHES,
    OPINION,
    OTHER_LANGUAGES,
    SUPPOSED,
    TAG,
    VALUE_IS,
)


@dataclass(frozen=True)
class Statement:
    """A passage that states an answer.

    Attributes:
        start: where its mark begins.
        begin, end: where the answer itself stands.
        text: the answer.
        how: the kind of mark, as in `Stated`.
        is_prose: whether it continues as running text ("the answer is found by adding"): it counts only where
            nothing else states an answer, or where it replaces one that was taken back.
    """

    start: int
    begin: int
    end: int
    text: str
    how: str
    is_prose: bool = False


_MINERVA_TAIL = re.compile(
    r"(?:\.[ \t]*+|(?<![ \t])[ \t]*+)I[ \t]+hope[ \t]+it[ \t]+is[ \t]+correct\b.*", re.IGNORECASE | re.DOTALL
)

# The end of a sentence: a full stop followed by a space and a capital, a backslash or a mark.
SENTENCE_END = re.compile(
    r"(?<=[^\s.])\.(?=\s+[A-Z\\$*<(]|\s*$|\$\s|[\"']?\s*\}?$)|[!?](?=\s|$)|[\u3002\uff1b\uff01\uff1f]"
)
# A character other than the marks around a formula.
_CONTENT = re.compile(r"[^\s$*_\[\]\\:\uFF1A>#\"'-]|[-\"'\[](?=[^\s-])|\\[a-zA-Z{]")
_ONLY_DELIMITERS = re.compile(r"\s*+(?:\\[\[\]()]|\$\$?|`{3,}\w*|-{3,}|={3,}|[*_]+)?\s*+")
_LINE = re.compile(r"[^\n]+")
_LINES_BELOW = 10  # a heading with no text soon after it has no answer; the bound keeps loops cheap
_ANNOUNCES = re.compile(r"(?:[:\uFF1A]|\b(?:is|are|by))\Z")
EMPTY_BOX = re.compile(r"\\boxed\s*\{\s*(?:\?\s*)?\}")
_CLOSING_TAG = re.compile(r"</[a-zA-Z_]+>.*", re.DOTALL)
_BARE_LABEL = re.compile(r"[*_]*[(\[]?[A-Z][)\]]?[*_]*\Z")
_LONGEST_LINE = 1_000
"""How many characters after a mark are read; no answer is longer."""

_PROSE_WORDS = 6
"""A longer text that goes on in lower case is a sentence about the answer, not the answer."""


def statements(text: str) -> Iterator[Statement]:
    """All passages of a response that state an answer, kind by kind; not sorted."""
    for pattern, how in (
        (FINAL_ANSWER, "final answer"),
        (ANSWER_IS, "answer is"),
        (ANSWER_COLON, "answer is"),
        (ANSWER_HEADING, "answer is"),
        (CHINESE, "answer is"),
        (OTHER_LANGUAGES, "answer is"),
    ):
        for match in _last_ones(pattern, text):
            found = None if _is_supposed(text, match.start()) else _after(text, match, how)
            if found is not None:
                yield found
                if not found.is_prose:
                    break
    for pattern in (OPINION, VALUE_IS):
        for match in _last_ones(pattern, text):
            if _is_supposed(text, match.start()):
                continue
            group = "value" if match["value"] else "other"
            value = unmarked(match[group])
            # "B is correct" ends with its verdict: what follows starts a new clause.
            end = match.end() if pattern is VALUE_IS else match.end(group)
            yield Statement(match.start(), match.start(group), end, unwrapped(value), "answer is")
            break
    for pattern in (TAG, HASHES):
        for match in _last_ones(pattern, text):
            if match["held"].strip():
                yield _tagged(match)
                break


def _last_ones(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches from the last to the first, a few of them: a generator in a loop writes thousands."""
    return islice(reversed(list(pattern.finditer(text))), 50)


def _is_supposed(text: str, start: int) -> bool:
    """Whether a condition, a doubt or a rejection stands before a mark: "if the answer is 5"."""
    return SUPPOSED.search(text, max(0, start - 40), start) is not None


def _tagged(match: re.Match[str]) -> Statement:
    held = match["held"]
    begin, end = match.span("held")
    # Inside the tag there may be a sentence or a box.
    inner = max(statements(held), key=lambda one: one.start, default=None) if match.re is TAG else None
    box = last_box(held)
    if box is not None and box.closed and (inner is None or box.start > inner.start):
        text = box.text
    else:
        text = " ".join(held.split()) if inner is None else inner.text
    return Statement(match.start(), begin, end, unmarked(text), "answer is")


def _after(text: str, match: re.Match[str], how: str) -> Statement | None:
    """The statement that begins with this mark; None if no answer follows."""
    span = _value_span(text, match.end())
    if span is None:
        return None
    begin, end = span
    end = _sentence_end(text, begin, end)
    if how == "final answer" and re.match(r"\.[ \t*_]*(?:\n|\Z)", text[end : end + 20]):
        end += 1  # a line of its own is kept as written
    written = " ".join(_MINERVA_TAIL.sub("", text[begin:end]).split())
    value = _clean(written, how)
    if not value or DECLINES.match(value):
        return None
    goes_on = re.match(r"[a-z]{2}", value) is not None
    is_prose = goes_on and (bool(GOES_ON.match(value)) or len(value.split()) > _PROSE_WORDS)
    return Statement(match.start(), begin, end, value, how, is_prose)


def _clean(written: str, how: str) -> str:
    """An answer without emphasis, surplus brackets and quotation marks; the content of a box."""
    box = last_box(written)
    if box is not None and box.closed:
        return box.text
    written = _CLOSING_TAG.sub("", EMPTY_BOX.sub("", written))
    written = written if how == "final answer" else written.strip().removesuffix(".")
    value = without_surplus_brackets(without_emphasis(written.strip(" \t:\uff1a").rstrip(",;")))
    if len(value) > 1 and value[0] in "\"'\u201c`" and value[-1] in "\"'\u201d`":
        value = value[1:-1].strip()
    return unwrapped(value if how == "final answer" else value.removesuffix("."))


def _value_span(text: str, position: int) -> tuple[int, int] | None:
    """Where the answer after a mark stands: on the mark's line, or below a mark that ends its line."""
    line_end = text.find("\n", position)
    line_end = len(text) if line_end < 0 else line_end
    content = _CONTENT.search(text, position, min(line_end, position + _LONGEST_LINE))
    if content is not None:
        return _opened(text, position, content.start()), min(line_end, position + _LONGEST_LINE)
    for line in islice(_LINE.finditer(text, line_end), _LINES_BELOW):
        bare = unmarked(line.group())
        if (
            not bare
            or _ONLY_DELIMITERS.fullmatch(bare)
            or _ANNOUNCES.search(bare)
            or not _CONTENT.search(bare)
        ):
            continue
        if re.match(rf"{MARKS}step[ \t]*\d", line.group(), re.IGNORECASE):
            return None
        return line.start(), _formula_end(text, line.start(), min(line.end(), line.start() + _LONGEST_LINE))
    return None


def _opened(text: str, position: int, content: int) -> int:
    """Where an answer on the mark's line begins: with the delimiters before its first character."""
    begin = content
    while begin > position and text[begin - 1] in "$\\[(*_\"'-":
        begin -= 1
    return begin


def _formula_end(text: str, begin: int, end: int) -> int:
    """The end of an answer below its mark, extended to the end of the displayed formula that it stands in."""
    before = text[max(0, begin - 10) : begin].rstrip()
    for opened, closing in (("\\[", "\\]"), ("$$", "$$")):
        if before.endswith(opened) or text.startswith(opened, begin):
            found = text.find(closing, begin + 2, begin + 400)
            return end if found < 0 else max(end, found)
    return end


def _sentence_end(text: str, begin: int, end: int) -> int:
    """The end of the first sentence of text[begin:end], outside braces; an option's label is no sentence."""
    value = text[begin:end]
    pairs = brace_pairs(value) if "{" in value else {}
    inside = sorted(pairs.items())
    for stop in SENTENCE_END.finditer(value):
        if any(opened < stop.start() < closed for opened, closed in inside):
            continue
        if _BARE_LABEL.match(value[: stop.start()].strip()):
            rest = value[stop.end() :]
            following = SENTENCE_END.search(rest)
            sentence = rest[: following.start()] if following is not None else rest
            if 0 < len(sentence.split()) <= _PROSE_WORDS and not re.search(
                r"\b(?:is|are|has|was)\b", sentence
            ):
                return begin + stop.end() + len(sentence)
        return begin + stop.start()
    return end


def is_heading_of_an_answer(line: str) -> re.Match[str] | None:
    """The mark of a final answer at the start of a line, if it begins with one."""
    return FINAL_ANSWER.match(line)
