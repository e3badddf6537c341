"""Sentences as steps: where each ends."""

from __future__ import annotations

import re

from dreamprm.responses.final_answers import states_only_an_answer
from dreamprm.responses.paragraphs import paragraph_ends
from dreamprm.responses.unbroken import Unbroken

# Closing quotes, brackets, emphasis and formula delimiters belong to the sentence that they close.
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

    A sentence ends at `.`, `!`, `?` or their closing marks before white space, at a paragraph's end, before a
    list item, and after a displayed formula where the next line begins with a capital; not in decimals,
    formulas and code, not after abbreviations (`e.g.`, `Fig. 3`) and the number of a list item, not before
    lower case. A last sentence that holds only the answer goes with the one before.

    Use it for generators that write one paragraph; the rules are for English, and for Chinese full stops.

    Args:
        text: the response of a generator.

    Returns:
        Where each sentence ends in the text, without the white space after it; empty for a blank text.
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
    """From where an abbreviation or the mark of an item can begin that ends at `position`."""
    return max(0, position - 40)


def _without_white_space(text: str, end: int) -> int:
    while end and text[end - 1].isspace():
        end -= 1
    return end
