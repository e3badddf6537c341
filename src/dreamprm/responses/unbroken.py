"""The passages of a text that no cut may fall into: formulas and code."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass

# What opens a passage. Code and formulas within a line are matched whole: they cannot be longer than it.
_OPENING = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*$"
    r"|(?P<display>\$\$|(?<!\\)\\\[)"
    r"|\\begin\{(?P<environment>\w+\*?)\}"
    r"|(?P<inline>(?<!\\)\\\()"
    r"|`[^`\n]+`"
    # As Pandoc tells a formula from an amount of money: no space inside the dollars, no digit after them.
    r"|\$(?![\s$])(?:\\.|[^$\n\\])+?(?<!\s)\$(?!\d)",
    re.MULTILINE,
)
_BARE_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*$", re.MULTILINE)
_GAP = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Unbroken:
    """Where the formulas and code blocks of a text stand; one without its end counts as plain text."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Unbroken:
        """Those of a text, in time that grows with its length alone (generators fall into loops)."""
        closings = _Closings(text)
        starts: list[int] = []
        ends: list[int] = []
        position = 0
        while opening := _OPENING.search(text, position):
            end = closings.after(opening)
            if end is not None:
                starts.append(opening.start("fence") if opening["fence"] else opening.start())
                ends.append(end)
            position = opening.end() if end is None else end
        return cls(tuple(starts), tuple(ends))

    def allows(self, position: int) -> bool:
        """Whether the text may be cut before the character at `position`."""
        span = bisect_right(self.starts, position - 1) - 1
        return span < 0 or self.ends[span] <= position

    def fills(self, start: int, end: int) -> bool:
        """Whether nothing else stands from `start` to `end`: the passage is one formula or code block."""
        span = bisect_right(self.starts, start) - 1
        return span >= 0 and self.starts[span] == start and self.ends[span] == end


class _Closings:
    """Finds what closes an opening, and remembers what it found: no part of the text is searched twice."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[str, int] = {}
        self._gaps = [gap.start() for gap in _GAP.finditer(text)]
        self._fences: defaultdict[str, list[int]] = defaultdict(list)
        for fence in _BARE_FENCE.finditer(text):
            self._fences[fence.group(1)].append(fence.end())

    def after(self, opening: re.Match[str]) -> int | None:
        """Where the passage ends that is opened there; None where nothing closes it."""
        if fence := opening["fence"]:
            ends = self._fences[fence]
            at = bisect_right(ends, opening.end())
            return ends[at] if at < len(ends) else None
        if opening["display"]:
            return self._next("$$" if opening["display"] == "$$" else r"\]", opening.end())
        if opening["environment"]:
            return self._next(rf"\end{{{opening['environment']}}}", opening.end())
        if opening["inline"]:
            end = self._next(r"\)", opening.end())
            gap = bisect_left(self._gaps, opening.end())
            # A formula within a sentence does not go past a blank line: its end is missing.
            return None if end is not None and gap < len(self._gaps) and self._gaps[gap] < end else end
        return opening.end()

    def _next(self, closing: str, position: int) -> int | None:
        found = self._found.get(closing, 0)
        if 0 <= found < position:
            found = self._found[closing] = self._text.find(closing, position)
        return None if found < 0 else found + len(closing)
