"""Step headings, the Markdown around them, and the steps they introduce."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from dreamprm.responses.visible import Visible, visible

MARKS = r"[ \t#>*_\-]*"
"""What generators put before a heading on its line: '### Step 1', '**Step 1:**', '- Step 1.', '> Step 1'.

One character class, not a repeated group, which would take exponential time on a long line of dashes.
"""


def unmarked(line: str) -> str:
    """A line without surrounding Markdown emphasis and white space."""
    return line.strip().strip("*_").strip()


# A heading starts a line and is ended by a mark or the end of the line, so that prose such as "Step 2 showed
# that" or "as in Step 1:" starts no step. A title in brackets may come before the mark: 'Step 1 (Restate):'.
# A number that continues ("Step 2.1", "Step 2-3") is a different one. Bold text and Markdown headings need no
# mark after the number: '**Step 1** Restate', '## Step 1 Restate'.
_HEADING = re.compile(
    rf"^{MARKS}\[?step[ \t]*"
    r"(\d{1,4})"
    r"(?:[ \t]*\([^()\n]*\))?"
    r"[ \t]*+[*_]*+[ \t]*+(?:[:)\]\uFF1A\u2014]|[.\-\u2013](?!\d)|$)"
    r"|^[ \t]*+(?:#+[ \t]*step[ \t]*(\d{1,4})\b(?![.\-\u2013]\d)|[ \t#>\-]*\*\*step[ \t]*(\d{1,4})\*\*)",
    re.IGNORECASE | re.MULTILINE,
)


# The same within a line ("Step 1: Add. Step 2: Halve."). Only its place and a mark tell it from a mention, so
# both are required, and where only a full stop ends it, a capital after it ("Step 2. shows" is a sentence).
_INLINE = re.compile(
    r"\b(?:Step|STEP|step)[ \t]{0,4}(\d{1,3})"
    r"(?:[ \t]?\([^()\n]{0,80}\))?"
    r"(?:[ \t]{0,4}[*_]{0,3}[ \t]{0,4}(?:[:)\]\uFF1A\u2014]|[\-\u2013](?=\s)|\.(?=[*_]{0,3}\s{1,8}[^\sa-z]))"
    r"|\*\*(?=\s))"
)
_OPENING_MARKS = re.compile(r"(?<![*_#>(\[ \t])[*_#>(\[ \t]*+\Z")
# What must stand before it: the end of a sentence, of a formula, or a value. After a word ("as in Step 2: we
# saw", "from Step 1 and Step 2:") it is a mention.
_ENDED = re.compile(
    r"[.!?:;\u2026\u3002\uFF01\uFF1A\uFF1B\uFF1F][\"'\u201D\u2019)\]*_]*\Z|[\d$}%\u00B0]\Z|\\[\])]\Z"
)


@dataclass(frozen=True)
class Heading:
    """A step heading: its number, and the position in the text where it begins (that of its line's start)."""

    number: int
    start: int


def find_headings(text: str, first: int = 1, *, within_lines: bool = False) -> tuple[Heading, ...]:
    """All step headings of a text in order, whatever their numbers.

    A heading is at the start of a line. Headings within a line (`Step 1: Add. Step 2: Halve.`) count too if,
    together with those at the start of lines, they number at least two steps without a gap, and no line but
    the first step's starts with one: a chain in one paragraph is then not one step.

    Args:
        text: the response of a generator.
        first: the number that the first step has; a continuation after two steps starts at 3.
        within_lines: whether headings within a line also count next to those at the start of lines, if more
            steps are found with them.
    """
    lines = tuple(Heading(int(next(filter(None, m.groups()))), m.start()) for m in _HEADING.finditer(text))
    if not within_lines and any(one.number != first for one in lines):
        return lines
    at_lines = len(ascending(lines))
    certain, possible = _inline_headings(text)
    if not certain:
        return lines
    run = _numbered(lines, certain, first)
    if run is None and possible:
        # One of five headings follows a title without a full stop: it fills the only gap that is left.
        run = _numbered(lines, certain + possible, first)
        known = {one.start for one in (*lines, *certain)}
        if run is not None and 2 * sum(one.start in known for one in run) <= len(run):
            run = None
    if run is None or len(run) < (2 if first == 1 else 1) or len(run) <= at_lines:
        return lines
    return tuple(sorted({*lines, *run}, key=lambda one: one.start))


def _numbered(lines: Sequence[Heading], inline: Sequence[Heading], first: int) -> tuple[Heading, ...] | None:
    """The run of headings at and within lines, if it numbers the steps without a gap."""
    run = ascending(sorted({*lines, *inline}, key=lambda one: one.start))
    return run if [one.number for one in run] == list(range(first, first + len(run))) else None


def _inline_headings(text: str) -> tuple[list[Heading], list[Heading]]:
    """Headings within a line: after the end of a sentence, of a formula or a value, or with Markdown's #.

    Returns:
        These, and those after any other word that does not make a mention of them ("in Step 2: we saw").
    """
    certain: list[Heading] = []
    possible: list[Heading] = []
    for match in _INLINE.finditer(text):
        near = max(0, match.start() - _LOOK_BACK)
        before = text[max(text.rfind("\n", near, match.start()) + 1, near) : match.start()]
        marks = _OPENING_MARKS.search(before)
        assert marks is not None  # it matches the empty text
        ended = before[: marks.start()]
        # The mark of emphasis or the bracket that opens the heading must not close what is before it.
        if not ended or not marks.group()[:1].isspace():
            continue
        heading = Heading(int(match[1]), match.start() - len(marks.group().lstrip()))
        if _ENDED.search(ended) or "#" in marks.group():
            certain.append(heading)
        elif "(" not in marks.group() and not _MENTIONS.search(ended):
            possible.append(heading)
    return certain, possible


_LOOK_BACK = 40  # characters before a heading that are read; a bound keeps long lines linear
_MENTIONS = re.compile(
    r"\b(?:in|from|of|to|and|or|by|see|using|use|with|at|after|before|per|the|than|on|for|as|via|this|that|our|"
    r"both|recall|follow|follows|following|back|until|through|under|like|is|was|are|be|we|it|saw|next|then)\Z"
    r"|[,(&/+=-]\Z",
    re.IGNORECASE,
)


def ascending(headings: Sequence[Heading]) -> tuple[Heading, ...]:
    """The headings at which a response is cut: their longest subsequence with increasing numbers.

    A step that mentions an earlier or a later one at the start of a line is thus not cut there, and a
    response without its third heading is still cut at the fourth. Among subsequences of equal length, the one
    with the smallest numbers is taken, and among headings with the same number, the first. Longest increasing
    subsequence by patience sorting, O(n log n): a generator that fell into a loop writes thousands of
    headings.

    Args:
        headings: all headings of a text, in order.

    Returns:
        The chosen headings, in order.
    """
    lasts: list[int] = []  # lasts[k]: the smallest number with which a run of k + 1 headings can end,
    ends: list[int] = []  # and which heading that is
    before: list[int | None] = []
    for index, heading in enumerate(headings):
        length = bisect_left(lasts, heading.number)
        before.append(ends[length - 1] if length else None)
        if length == len(lasts):
            lasts.append(heading.number)
            ends.append(index)
        elif heading.number < lasts[length]:
            lasts[length], ends[length] = heading.number, index
    run: list[Heading] = []
    at = ends[-1] if ends else None
    while at is not None:
        run.append(headings[at])
        at = before[at]
    return tuple(reversed(run))


def last_step_number(text: str) -> int | None:
    """The number of the last heading at which a text is cut; None if it has no heading."""
    run = ascending(find_headings(text))
    return run[-1].number if run else None


def split_steps(text: str, first: int = 1) -> tuple[str, ...]:
    """Split a chain of thought at its `Step k:` headings; every step keeps its heading.

    A heading is at the start of a line, with or without Markdown marks (`### Step 1`, `**Step 1:**`), or
    within one (see `find_headings`), and counts only if it continues the numbering first, first + 1, ...: a
    step that mentions an earlier one is not cut. Text before the first heading belongs to the first step, and
    a final-answer line to the last. Thinking and template marks (`dreamprm.responses.visible`) belong to
    none.

    Use it for texts that are known to be well-formed; `parse_response` also accepts other texts and reports
    what is wrong with them.

    Args:
        text: the response of a generator.
        first: the number of the first heading; a continuation after two steps starts at 3.

    Returns:
        The steps, stripped of surrounding white space; empty if there is no heading numbered `first`.
    """
    return _steps(visible(text), first)


def split_question(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text that contains a question and its chain of thought, as in the public DreamPRM meta file.

    The question is the text before the first `Step 1` heading. A sentence that the generator wrote before its
    first heading ("Let's analyse ...") cannot be distinguished from the question and stays with it.

    Args:
        text: the question, followed by the chain of thought if there is one.

    Returns:
        The question and the steps; no steps if the text has no `Step 1` heading.
    """
    shown = visible(text)
    starts = _starts(shown.text, 1)
    if not starts:
        return text.strip(), ()
    return shown.passage(0, starts[0]), split_steps(shown.passage(starts[0], len(text)))


def _steps(shown: Visible, first: int) -> tuple[str, ...]:
    starts = _starts(shown.text, first)
    if not starts:
        return ()
    bounds = [0, *starts[1:], len(shown.text)]
    return tuple(shown.passage(begin, end) for begin, end in zip(bounds, bounds[1:], strict=False))


def _starts(text: str, first: int) -> list[int]:
    """Where the headings numbered first, first + 1, ... begin."""
    starts: list[int] = []
    for heading in find_headings(text, first):
        if heading.number == first + len(starts):
            starts.append(heading.start)
    return starts
