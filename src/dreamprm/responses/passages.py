"""Paragraphs and sentences as steps: where each ends, without cutting inside formulas and code."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass

from dreamprm.responses.headings import unmarked
from dreamprm.responses.stated_answers import states_only_an_answer

_GAP = re.compile(r"\n(?:[ \t]*\n)+")
_BULLET = re.compile(r"[ \t]*[-*+\u2022][ \t]")
_NUMBER = re.compile(r"[ \t]*\(?\d+[.)][ \t]")
_INDENTED = re.compile(r"\t| {2,}")
# A sentence in bold ends with a full stop; a heading does not.
_HEADING_ONLY = re.compile(
    r"[ \t]*(?:#.*|\*\*[^*\n]*[^*\n.!?]\*\*:?|__[^_\n]*[^_\n.!?]__:?|\[[^\]\n]+\]|[-=*_]{3,})[ \t]*"
)


def paragraph_ends(text: str) -> tuple[int, ...]:
    """Cut a text into paragraphs that can stand as steps of reasoning.

    Paragraphs end at blank lines. The following stay together with the text before them:
    - the rest of a formula or code block, and a formula, code block or table that is a paragraph of its own;
    - text announced by a paragraph that ends in ":" or ",", and text that begins in lower
      case;
    - a bullet after a bullet, and text indented under an item (numbered items separated by blank lines are
      steps, as in the public DreamPRM-1.5 file);
    - a last paragraph that contains only the answer (`Final answer: B`, a box).
    A heading stays together with the text after it.

    Args:
        text: the response of a generator.

    Returns:
        The position in the text where each paragraph ends, excluding white space; empty for a blank text.
    """
    unbroken = Unbroken.of(text)
    gaps = [gap for gap in _GAP.finditer(text) if unbroken.allows(gap.start() + 1)]
    starts = [0, *(gap.end() for gap in gaps)]
    ends = [*(gap.start() for gap in gaps), len(text)]
    units: list[_Unit] = []
    for start, end in zip(starts, ends, strict=True):
        block = text[start:end]
        if not block.strip():
            continue
        if units and (_goes_on(units[-1], block) or unbroken.fills(*_formula_bounds(block, start))):
            units[-1].add(block, end)
        else:
            units.append(_Unit(start, end, block))
    if len(units) > 1 and states_only_an_answer(text[units[-1].start : units[-1].end]):
        last = units.pop()
        units[-1].end = last.end
    return tuple(unit.start + len(text[unit.start : unit.end].rstrip()) for unit in units)


class _Unit:
    """Blocks that belong together, with what is needed to decide whether the next block does too."""

    def __init__(self, start: int, end: int, block: str) -> None:
        self.start = start
        self.is_item = bool(_BULLET.match(block) or _NUMBER.match(block))
        self.has_bullet = False
        self.add(block, end)

    def add(self, block: str, end: int) -> None:
        self.end = end
        self.last_line = block.rstrip().splitlines()[-1]
        self.has_bullet = self.has_bullet or any(map(_BULLET.match, block.splitlines()))


def _goes_on(unit: _Unit, block: str) -> bool:
    bare = block.strip()
    if _HEADING_ONLY.fullmatch(unit.last_line) or unmarked(unit.last_line).endswith((":", "\uff1a", ",")):
        return True
    if bare[0].islower() or bare.startswith("|"):
        return True
    return bool(unit.has_bullet and _BULLET.match(block) or unit.is_item and _INDENTED.match(block))


def _formula_bounds(block: str, start: int) -> tuple[int, int]:
    """Where the block would begin and end if it were a formula, with or without a full stop after it."""
    bare = block.strip()
    begin = start + block.index(bare)
    return begin, begin + len(bare.rstrip(".,"))


# Closing quotes, brackets, emphasis and formula delimiters belong to the sentence they close.
_STOP = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]+[\"'\u201D\u2019)\]*_]*(?:\\\)|\\\]|\$\$?)?(?=\s)|[\u3002\uFF01\uFF1F]+"
)
_FORMULA_LINE = re.compile(r"(?:\\\]|\$\$|\\end\{\w+\*?\})[ \t]*\n\s*(?=[A-Z])")
_ITEM = re.compile(r"\n[ \t]*(?:[-*+\u2022]|\(?(?:\d+|[A-Za-z])[.)])[ \t]")
_ITEM_MARK = re.compile(r"[ \t>*_#-]*\(?(?:\d+|[A-Za-z]|[IVXivx]+)\Z")
_ANNOUNCED = re.compile(r"[:\uFF1A]\s*\Z")
_NEXT = re.compile(r"\s*(\S)")
_WORD_BEFORE = re.compile(r"[A-Za-z.]+\Z")

_NEVER_LAST = frozenset("e.g i.e vs cf viz resp approx ca dr mr mrs ms prof st al".split())
_BEFORE_A_NUMBER = frozenset("fig figs eq eqs eqn no nos sec ch p pp vol ref refs step ex thm".split())


def sentence_ends(text: str) -> tuple[int, ...]:
    """Cut a text into sentences.

    A sentence ends at `.`, `!` or `?`, with any closing marks, before white space; at the end of a paragraph;
    before a list item; and after a displayed formula if the next line begins with a capital. It does not end
    inside decimals, formulas and code, after abbreviations (`e.g.`, `Fig. 3`) or the number of a list item,
    or before lower case. A last sentence that contains only the answer is joined to the one before.

    Use it for generators that write a single paragraph; the rules cover English and Chinese full stops.

    Args:
        text: the response of a generator.

    Returns:
        The position in the text where each sentence ends, excluding white space; empty for a blank text.
    """
    unbroken = Unbroken.of(text)
    cuts = set(paragraph_ends(text))
    cuts |= {stop.end() for stop in _STOP.finditer(text) if _ends_a_sentence(text, stop, unbroken)}
    cuts |= {formula.end() for formula in _FORMULA_LINE.finditer(text) if unbroken.allows(formula.end())}
    cuts |= {
        item.start()
        for item in _ITEM.finditer(text)
        if unbroken.allows(item.start()) and not _ANNOUNCED.search(text, _near(item.start()), item.start())
    }
    ends = sorted({_without_white_space(text, cut) for cut in cuts} - {0})
    if len(ends) > 1 and states_only_an_answer(text[ends[-2] :]):
        del ends[-2]
    return tuple(ends)


def _ends_a_sentence(text: str, stop: re.Match[str], unbroken: Unbroken) -> bool:
    if not unbroken.allows(stop.end()):
        return False
    following = _NEXT.match(text, stop.end())
    first = following.group(1) if following else ""
    if first.islower():
        return False
    if stop.group()[0] != "." or stop.group().startswith(".."):
        return True
    line = text.rfind("\n", _near(stop.start()), stop.start()) + 1 or _near(stop.start())
    if _ITEM_MARK.fullmatch(text, line, stop.start()):
        return False
    word = _WORD_BEFORE.search(text, line, stop.start())
    name = word.group().lower().strip(".") if word and word.group() != "no" else ""  # "It said no." ends
    before_a_number = name in _BEFORE_A_NUMBER and (first.isdigit() or first in ("(", "\\", "$"))
    return name not in _NEVER_LAST and not before_a_number


def _near(position: int) -> int:
    """The earliest position at which an abbreviation or item mark that ends at `position` can begin."""
    return max(0, position - 40)


def _without_white_space(text: str, end: int) -> int:
    while end and text[end - 1].isspace():
        end -= 1
    return end


# What opens a formula or code block. Inline code and formulas are matched whole: they end on the same line.
_OPENING = re.compile(
    r"^[ \t]*(?P<fence>`{3,}+|~{3,}+)[^\n`]*$"
    r"|(?P<display>\$\$|(?<!\\)\\\[)"
    r"|\\begin\{(?P<environment>\w+\*?)\}"
    r"|(?P<inline>(?<!\\)\\\()"
    r"|`[^`\n]+`"
    # Pandoc's rule to tell a formula from an amount of money: no space inside the dollars, no digit
    # after.
    r"|(?<!\\)\$(?![\s$])(?:\\.|[^$\n\\])+?(?<!\s)\$(?!\d)",
    re.MULTILINE,
)
_BARE_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Unbroken:
    """The positions of the formulas and code blocks of a text; one without an end counts as plain text."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Unbroken:
        """Find those of a text, in time linear in its length (generators can fall into loops)."""
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
        """Whether the passage from `start` to `end` is exactly one formula or code block."""
        span = bisect_right(self.starts, start) - 1
        return span >= 0 and self.starts[span] == start and self.ends[span] == end


class _Closings:
    """Finds what closes an opening, with a cache, so that no part of the text is searched twice."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[str, int] = {}
        self._gaps = [gap.start() for gap in _BLANK_LINE.finditer(text)]
        self._fences: defaultdict[str, list[int]] = defaultdict(list)
        for fence in _BARE_FENCE.finditer(text):
            self._fences[fence.group(1)].append(fence.end())

    def after(self, opening: re.Match[str]) -> int | None:
        """Where the passage opened there ends; None if nothing closes it."""
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
            # An inline formula does not extend past a blank line: its end is missing.
            return None if end is not None and gap < len(self._gaps) and self._gaps[gap] < end else end
        return opening.end()

    def _next(self, closing: str, position: int) -> int | None:
        found = self._found.get(closing, 0)
        if 0 <= found < position:
            found = self._found[closing] = self._text.find(closing, position)
        return None if found < 0 else found + len(closing)
