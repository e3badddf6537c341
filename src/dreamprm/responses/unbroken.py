"""The passages of a text that no cut may fall into: displayed formulas and code."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

_DISPLAYED = (
    r"^[ \t]*(?P<fence>```+|~~~+)[^\n]*\n.*?^[ \t]*(?P=fence)[ \t]*$",
    r"\$\$.+?\$\$",
    r"\\\[.+?\\\]",
    r"\\begin\{(?P<name>\w+\*?)\}.+?\\end\{(?P=name)\}",
)
_INLINE = (
    r"\\\((?:(?!\n[ \t]*\n).)+?\\\)",
    r"`[^`\n]+`",
    # As Pandoc tells a formula from an amount of money: no space inside the dollars, no digit after them.
    r"\$(?![\s$])(?:\\.|[^$\n\\])+?(?<!\s)\$(?!\d)",
)
_FLAGS = re.DOTALL | re.MULTILINE
_DISPLAYED_PATTERN = re.compile("|".join(_DISPLAYED), _FLAGS)
_ALL_PATTERN = re.compile("|".join((*_DISPLAYED, *_INLINE)), _FLAGS)


@dataclass(frozen=True)
class Unbroken:
    """Where the formulas and code blocks of a text stand; one without its end counts as plain text."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, text: str, *, inline: bool) -> Unbroken:
        """Those of a text: displayed ones, and with `inline` also those within a sentence."""
        spans = [match.span() for match in (_ALL_PATTERN if inline else _DISPLAYED_PATTERN).finditer(text)]
        return cls(tuple(start for start, _ in spans), tuple(end for _, end in spans))

    def allows(self, position: int) -> bool:
        """Whether the text may be cut before the character at `position`."""
        span = bisect_right(self.starts, position - 1) - 1
        return span < 0 or self.ends[span] <= position

    def fills(self, start: int, end: int) -> bool:
        """Whether nothing else stands from `start` to `end`: the passage is one formula or code block."""
        span = bisect_right(self.starts, start) - 1
        return span >= 0 and self.starts[span] == start and self.ends[span] == end
