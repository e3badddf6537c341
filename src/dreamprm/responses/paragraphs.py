"""Paragraphs as steps: where each ends."""

from __future__ import annotations

import re

from dreamprm.responses.final_answers import states_only_an_answer
from dreamprm.responses.marks import unmarked
from dreamprm.responses.unbroken import Unbroken

_GAP = re.compile(r"\n(?:[ \t]*\n)+")
_BULLET = re.compile(r"[ \t]*[-*+\u2022][ \t]")
_NUMBER = re.compile(r"[ \t]*\(?\d+[.)][ \t]")
_INDENTED = re.compile(r"\t| {2,}")
# A sentence in bold type ends with a full stop, a heading does not.
_HEADING_ONLY = re.compile(
    r"[ \t]*(?:#.*|\*\*[^*\n]*[^*\n.!?]\*\*:?|__[^_\n]*[^_\n.!?]__:?|\[[^\]\n]+\]|[-=*_]{3,})[ \t]*"
)


def paragraph_ends(text: str) -> tuple[int, ...]:
    """Cut a text into paragraphs that can stand as steps of reasoning.

    Paragraphs end at blank lines. Kept together with what is before them are
    - all of a formula or code block, and one that makes a paragraph of its own, or a table;
    - what a paragraph ending in ":" or "," announces, and what begins in lower case and so goes on with it;
    - a bullet after a bullet, and what is indented under an item (numbered items that blank lines part are
      steps, as in the public DreamPRM-1.5 file);
    - a last paragraph that holds only the answer (`Final answer: B`, a box).
    A heading goes with what is after it.

    Args:
        text: the response of a generator.

    Returns:
        Where each paragraph ends in the text, without the white space after it; empty for a blank text.
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
    """Blocks that belong together: what has to be known of them to tell whether the next one does."""

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
    """Where a block would begin and end that were a formula, with or without a full stop after it."""
    bare = block.strip()
    begin = start + block.index(bare)
    return begin, begin + len(bare.rstrip(".,"))
