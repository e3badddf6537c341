"""Answers of several values: sets, tuples and labelled values, compared value by value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

from dreamprm.answers.base import Verdict
from dreamprm.answers.plain import plain
from dreamprm.answers.quantity import read_quantity

MOST_VALUES = 7
"""Longer lists are compared in their order only."""

_SET = re.compile(r"^(?:[a-zA-Z]\s*(?:=|\\in)\s*)?\\?\{(.*?)\\?\}$")
_TUPLE = re.compile(r"^(?:\([a-zA-Z](?:\s*,\s*[a-zA-Z])*\)\s*=\s*)?\((.*)\)$")
_PLUS_MINUS = re.compile(r"^((?:[a-zA-Z](?:_\w)?\s*=\s*)?)\\pm\s*(\S.*)$")
_SEPARATOR = re.compile(r"\s*(?:,\s*(?:and|or)\b|[,;]|\b(?:and|or)\b|&)\s*", re.IGNORECASE)
_NO_ORDER = re.compile(r"\b(?:and|or)\b|&", re.IGNORECASE)
# "x = 7", "x_1 = 7", "width: 9 cm", "the width is 9 cm", "width 9 cm".
_LABEL = re.compile(
    r"^(?:the\s+)?(?P<label>[a-zA-Z](?:_\{?\w+\}?)?(?=\s*=)|[a-zA-Z]+(?:\s+[a-zA-Z]+){0,2}?)"
    r"\s*(?:=|:|\bis\b|\bof\b|(?<=[a-zA-Z]{3})\s)\s*(?P<value>[-+.\d\\($].*)$"
)
_SENTENCE = re.compile(
    r"\b(?:if|then|there|so|we|it|they|i|you|got|were|was|is|are|have|has|had|when|since|because|which|that|with|from|for"
    r"|in|by|to|at|on|about|see|get|find|receive[sd]?|if|therefore|thus|hence)\b",
    re.IGNORECASE,
)
_INDEX = re.compile(r"_\{?\d+\}?$")
_IN_WORDS = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Values:
    """The values of an answer.

    Attributes:
        texts: each value as written, without its label.
        labels: what each is the value of ("x", "width"), or None for each without one.
        ordered: True for a tuple; False for a set: braces, "and", "or"; None for a list that does not say.
    """

    texts: tuple[str, ...]
    labels: tuple[str | None, ...]
    ordered: bool | None

    @property
    def named(self) -> bool:
        """Whether labels tell the values apart."""
        return None not in self.labels and len(set(self.labels)) == len(self.labels)


def read_values(text: str) -> Values | None:
    """The values of an answer; None if it is not a list of at least two numbers or formulas."""
    text = plain(text)
    if len(text) > 200:
        return None
    sign = _PLUS_MINUS.match(text)
    if sign is not None:
        text = f"{sign[1]}{sign[2]} or {sign[1]}-{sign[2]}"
    ordered: bool | None = False if _NO_ORDER.search(text) else None
    braces, brackets = _SET.match(text), _TUPLE.match(text)
    if braces is not None and _is_one_group(text):
        text, ordered = braces[1], False
    elif brackets is not None and _is_one_group(text[max(text.find("(", text.rfind("=") + 1), 0) :]):
        text, ordered = brackets[1], True
    parts = _split(text)
    if len(parts) < 2:
        return None
    texts, labels = [], []
    for part in parts:
        label = _LABEL.match(part)
        if label is not None and _SENTENCE.search(label["label"]):
            return None
        value = part if label is None else label["value"].strip()
        if read_quantity(value) is None and (
            _IN_WORDS.search(re.sub(r"\\[a-zA-Z]+", "", value)) or not value
        ):
            return None
        if not re.search(r"\d|\\", value) and not re.fullmatch(r"[-+]?[a-z](?:[-+*/^]\w)*", value):
            return None  # "A and B": names, which are compared as words
        texts.append(value)
        labels.append(None if label is None else " ".join(label["label"].lower().split()))
    bases = {None if label is None else _INDEX.sub("", label) for label in labels}
    if len(bases) == 1:  # x_1 = 2, x_2 = 3: which is the first is a matter of taste
        labels = list(bases) * len(labels)
        ordered = False if labels[0] is not None and ordered is None else ordered
    return Values(tuple(texts), tuple(labels), ordered)


Equal = Callable[[str, str], bool | None]
"""Whether a right value and a stated one are equal; None if that is not certain."""


def compare_values(right: Values, given: Values, equal: Equal) -> tuple[Verdict, str]:
    """Whether two answers have the same values, with the reason.

    Values with labels are compared by label; a tuple in its order; a set in any order. A list that does not
    say whether its order matters is right in the same order, and undecided in another one.
    """
    known: dict[tuple[int, int], bool | None] = {}

    def same(i: int, j: int) -> bool | None:
        if (i, j) not in known:
            known[i, j] = equal(right.texts[i], given.texts[j])
        return known[i, j]

    if len(right.texts) != len(given.texts):
        return "wrong", f"{len(given.texts)} values, not {len(right.texts)}"
    number = len(right.texts)
    places: list[tuple[int, ...]] = [tuple(range(number))]
    if right.named and given.named and set(right.labels) == set(given.labels):
        order = tuple(given.labels.index(label) for label in right.labels)
        found = _all(same(i, j) for i, j in enumerate(order))
        return _verdict(found), "the values by their labels"
    found = _all(same(i, i) for i in range(number))
    if right.ordered is True and given.ordered is not False:
        return _verdict(found), "the values in their order"
    if number <= MOST_VALUES:
        places = list(permutations(range(number)))
    matched = [_all(same(i, j) for i, j in enumerate(order)) for order in places]
    if not any(one is not False for one in matched):
        return ("wrong" if number <= MOST_VALUES else "undecided"), "other values"
    if True not in matched:
        return "undecided", "values that cannot be compared"
    if right.named and given.named:
        return "undecided", "the labels differ"
    if True in (right.ordered, given.ordered) and False in (right.ordered, given.ordered):
        return "undecided", "a tuple and a set"
    if found is True or (right.ordered is False and not given.named):
        return "right", "the same values"
    return "undecided", "the same values in another order"


def compare_with_one(one: str, given: Values, equal: Callable[[str], bool | None]) -> tuple[Verdict, str]:
    """A single value on one side and several on the other, each compared with it by `equal`."""
    found = [equal(text) for text in given.texts]
    if all(same is False for same in found):
        return "wrong", f"none of the values is {one}"
    return "undecided", "one side has several values, the other has one"


def _all(found: object) -> bool | None:
    """True if all are, False if any is False, else None; lazily, as a comparison may take long."""
    uncertain = False
    for one in found:  # type: ignore[attr-defined]
        if one is False:
            return False
        uncertain = uncertain or one is None
    return None if uncertain else True


def _verdict(found: bool | None) -> Verdict:
    return "undecided" if found is None else "right" if found else "wrong"


def _is_one_group(text: str) -> bool:
    """Whether the bracket that opens a text is closed by its last character."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and position < len(text) - 1 and character in ")]}":
            return False
    return depth == 0


def _split(text: str) -> list[str]:
    """The parts of a list, separated outside brackets; a comma before three digits may group thousands."""
    parts, begin = [], 0
    depths, depth = [], 0
    for character in text:
        depth -= character in ")]}"
        depths.append(depth)
        depth += character in "([{"
    for match in _SEPARATOR.finditer(text):
        place = match.start() + (len(match.group()) - len(match.group().lstrip()))
        grouped = match.group() == "," and re.match(r"\d{3}(?!\d)", text[match.end() :])
        if depths[place] > 0 or (grouped and match.start() > 0 and text[match.start() - 1].isdigit()):
            continue
        parts.append(text[begin : match.start()].strip())
        begin = match.end()
    parts.append(text[begin:].strip())
    return [part for part in parts if part]
