"""Finds the answer that a response states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dreamprm.answers.plain import brace_pairs
from dreamprm.responses import final_answer

How = Literal["final answer", "boxed", "answer is", "whole response", "last line"]


@dataclass(frozen=True)
class Stated:
    """The answer that a response states, and the mark by which it was found.

    Attributes:
        text: the answer as written, on one line, with its LaTeX.
        how: the mark. `final answer`, `boxed`, `answer is`: the response says that this is its answer.
            `whole response`: the response is short and contains nothing else. `last line`: nothing marks an
            answer; this is the last sentence of the last line, which may or may not contain one.
    """

    text: str
    how: How

    @property
    def marked(self) -> bool:
        """Whether the response itself says that this is its answer."""
        return self.how != "last line"


# 'the answer is', 'The correct option is:', 'Answer: 5', '**Answer:** B', 'answer = 5'. `an answer is` and
# 'the answers are' in running text state no answer; neither do 'is not', 'is that', and 'is no' before more.
_ANSWER_IS = re.compile(
    r"\b(?:(?:the|my|our|your|so)\s+|(?=correct\s|final\s))"
    r"(?:(?:correct|right|final|best|required|closest|desired)\s+)*(?:answer|option|choice)"
    r"(?:\s+(?:choice|option|letter|to\s+th(?:e|is)\s+question|to\s+the\s+problem))?"
    r"(?:\s+(?:is|would\s+be|will\s+be|must\s+be|should\s+be)\b"
    r"(?!\s+(?:(?:not|that|based|because)\b|no\b(?![\s.!*_]*(?:\n|\Z))))"
    r"(?:\s+(?:therefore|thus|simply|just|option|choice|answer)\b)*|(?=\s*[*_]*\s*[:=]))"
    r"\s*(?:[*_]+(?=[\s:=]))?\s*[:=]?(?:[*_]+(?=\s))?[ \t]*",
    re.IGNORECASE,
)
_ANSWER_LINE = re.compile(
    r"^[ \t>#*_-]*(?:(?:correct|final)[ \t]+)?(?:answer|option|choice)"
    r"[ \t]*[*_]*[ \t]*[:=](?:[*_]+(?=\s))?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_FINAL_HEADING = re.compile(r"final[ \t]+answer", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_TAG = re.compile(r"<answer>([^<]*(?:<(?!/?answer>)[^<]*)*)</answer>", re.IGNORECASE)
# `#### Step 4` is a Markdown heading; GSM8K's mark is followed by a number.
_HASHES = re.compile(r"^[ \t]*####[ \t]*([-+$\u20ac\u00a3]?[ \t]*\.?\d[^\n]*)", re.MULTILINE)
_TOKEN = re.compile(r"[^\s$]+")
# A character other than the marks around a formula.
_CONTENT = re.compile(r"[^\s$*_\[\]\\:]")

# What may stand between two boxes that together are one answer: $x=\boxed{2}$ and $y=\boxed{3}$.
_BETWEEN_BOXES = re.compile(
    r"[ \t$\\(),;]*+(?:\b(?:and|or)\b)?[ \t$\\(),;]*+(?:[a-zA-Z][ \t]*=[ \t]*)?[ \t]*"
)

# The end of a sentence: a full stop followed by a space and a capital, a backslash or a mark.
_SENTENCE_END = re.compile(r"(?<=[^\s.])\.(?=\s+[A-Z\\$*<]|\s*$|\$\s)|[!?](?=\s|$)")

_LONGEST_END = 20_000
"""How many of a response's last characters are read; the answer is at the end."""

_LONGEST_LINE = 1_000
"""How many characters after "the answer is" are read; no answer is longer."""

_LONGEST_BARE = 60
"""A response of one line with at most this many characters is taken as the answer."""


def stated_answer(response: str) -> Stated | None:
    """The last answer that a response states.

    An answer is marked by a `Final answer:` line, `\\boxed{...}`, sentences such as "the answer is X" or "the
    correct option is X", lines such as "Answer: X", `<answer>X</answer>` and GSM8K's `#### X`. The mark that
    begins last counts, whatever its kind, except that a sentence that continues in lower case ("the answer is
    found by adding") counts only if nothing else is marked. If an answer is itself a box, the answer is the
    content of the box. Adjacent boxes (`\\boxed{2}` and `\\boxed{3}`) are one answer, "2, 3". Without a mark,
    the answer is the whole response if it is one short line, and otherwise its last sentence. Only the last
    20,000 characters of a response are read.

    Args:
        response: a generator's text.

    Returns:
        The answer and how it was found; None if the response is empty.
    """
    response = response[-_LONGEST_END:]
    if not response.strip():
        return None
    last_start, last = max(
        (
            found
            for found in (
                _last_box(response),
                _last_sentence_with(_ANSWER_IS, response),
                _last_sentence_with(_ANSWER_LINE, response),
                _last_tag(response),
            )
            if found
        ),
        key=lambda found: found[0],
        default=(-1, None),
    )
    headings = _FINAL_HEADING.finditer(response)
    heading = next((found for found in headings if found.start() >= last_start), None)
    if heading is not None:
        text = final_answer(response[response.rfind("\n", 0, heading.start()) + 1 :])
        if text:
            return Stated(_unboxed(text), "final answer")
    if last is not None:
        return last
    lines = [line.strip() for line in response.splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) <= _LONGEST_BARE:
        return Stated(lines[0], "whole response")
    return Stated(_last_sentence(lines[-1]), "last line")


_Found = tuple[int, Stated]
"""Where a statement begins, and what it states; a position below 0 counts only if there is no other."""


def _last_box(response: str) -> _Found | None:
    """The last run of adjacent boxes; a box that is never closed states nothing."""
    pairs = brace_pairs(response)
    run: tuple[int, int, list[str]] | None = None
    for match in _BOX.finditer(response):
        if response[match.end()] == "{":
            begin, end = match.end() + 1, pairs.get(match.end(), -1)
        else:
            # TeX also takes one token: `\boxed 7`.
            token = _TOKEN.match(response, match.end())
            begin, end = match.end(), token.end() if token else -1
        text = response[begin:end].strip()
        # A box with nothing, a full stop or a question mark states nothing; a box inside a box is part of it.
        if end < 0 or not re.search(r"\w", text) or (run is not None and match.start() < run[1]):
            continue
        if run is not None and _BETWEEN_BOXES.fullmatch(response, run[1], match.start()):
            texts = run[2] if text == run[2][-1] else [*run[2], text]
            run = (run[0], end + 1, texts)
        else:
            run = (match.start(), end + 1, [text])
    return (run[0], Stated(", ".join(run[2]), "boxed")) if run is not None else None


def _last_sentence_with(mark: re.Pattern[str], response: str) -> _Found | None:
    """What follows the last "the answer is" or "Answer:", up to the end of the sentence."""
    prose: _Found | None = None
    for match in reversed(list(mark.finditer(response))):
        # 'The answer is:' at the end of a line: the answer is on the next line that has text.
        content = _CONTENT.search(response, match.end())
        if content is None:
            continue
        begin = max(match.end(), response.rfind("\n", 0, content.start()) + 1)
        end = response.find("\n", begin, begin + _LONGEST_LINE)
        text = _first_sentence(response[begin : end if end >= 0 else begin + _LONGEST_LINE].lstrip(" \t:"))
        if not text:
            continue
        stated = Stated(_unboxed(text), "answer is")
        if not re.match(r"[a-z]{2}", text):
            return match.start(), stated
        prose = prose or (match.start() - len(response), stated)
    return prose


def _last_tag(response: str) -> _Found | None:
    """The content of the last `<answer>` or `####`."""
    tags = [match for pattern in (_TAG, _HASHES) for match in pattern.finditer(response)]
    start, text = max(((tag.start(), tag[1].strip()) for tag in tags), default=(-1, ""))
    return (start, Stated(_unboxed(text), "answer is")) if text else None


def _first_sentence(line: str) -> str:
    """A line up to the end of its first sentence."""
    end = _SENTENCE_END.search(line)
    return (line[: end.start()] if end else line).strip().rstrip(",;")


def _last_sentence(line: str) -> str:
    begins = [end.end() for end in _SENTENCE_END.finditer(line)]
    bounds = zip([0, *begins], [*begins, len(line)], strict=True)
    sentences = [line[begin:end].strip() for begin, end in bounds]
    return next((text for text in reversed(sentences) if re.search(r"\w", text)), line)


def _unboxed(text: str) -> str:
    """The content of an answer's last box; the answer itself if it has no box."""
    box = _last_box(text)
    return box[1].text if box is not None else text
