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
_HEADING_ONLY = re.compile(r"[ \t]*(?:#.*|\*\*[^*\n]+\*\*:?|__[^_\n]+__:?|\[[^\]\n]+\]|[-=*_]{3,})[ \t]*")


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
    unbroken = Unbroken.of(text, inline=True)
    gaps = [gap for gap in _GAP.finditer(text) if unbroken.allows(gap.start() + 1)]
    starts = [0, *(gap.end() for gap in gaps)]
    ends = [*(gap.start() for gap in gaps), len(text)]
    blocks = [(a, b) for a, b in zip(starts, ends, strict=True) if text[a:b].strip()]
    units: list[tuple[int, int]] = []
    for start, end in blocks:
        if units and _goes_on(text[slice(*units[-1])], text[start:end], unbroken, start):
            units[-1] = (units[-1][0], end)
        else:
            units.append((start, end))
    if len(units) > 1 and states_only_an_answer(text[slice(*units[-1])]):
        units[-2:] = [(units[-2][0], units[-1][1])]
    return tuple(start + len(text[start:end].rstrip()) for start, end in units)


def _goes_on(before: str, block: str, unbroken: Unbroken, start: int) -> bool:
    last = before.rstrip().splitlines()[-1]
    bare = block.strip()
    if _HEADING_ONLY.fullmatch(last) or unmarked(last).endswith((":", "\uFF1A", ",")):
        return True
    if bare[0].islower() or bare.startswith("|"):
        return True
    at = start + len(block) - len(block.lstrip())
    if unbroken.fills(at, at + len(bare)) or unbroken.fills(at, at + len(bare.rstrip(".,"))):
        return True
    if _BULLET.match(block) and any(map(_BULLET.match, before.splitlines())):
        return True
    return bool(_INDENTED.match(block)) and bool(_BULLET.match(before) or _NUMBER.match(before))
