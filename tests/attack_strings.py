"""Texts on which a regular expression may take quadratic time, derived from the expression itself.

For every repetition without a bound: what leads to it, then many times what it repeats, then a character that
nothing matches; and many times both. A pattern that tries the rest of a text again from every position, or in
which two repetitions can share a run of characters, needs time that grows with the square on one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from re import _compiler, _parser  # type: ignore[attr-defined]
from re import _constants as sre  # type: ignore[attr-defined]  # what `sre_parse` was before Python 3.11
from typing import Any

_CHARACTERS = " \n\taAxB1*_-=()[]{}$\\,.:;/^~<>#'\"`|!?&%e+\u00e9\u4e2d"
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
_SINGLE = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN)
_NAMING = (sre.LITERAL, sre.RANGE)
_LONG = 200  # a repetition with a higher bound is as good as one without
_NOTHING = "\0"


def attack_strings(pattern: re.Pattern[str], length: int) -> Iterator[str]:
    """Texts of about this length that are hard for the pattern."""
    tree = _parser.parse(pattern.pattern, pattern.flags)
    for before, body in dict.fromkeys(_repetitions(tree, "")):
        yield before + body * (length // len(body)) + _NOTHING
        yield (before + body) * (length // len(before + body)) + _NOTHING


def _repetitions(items: Any, before: str) -> Iterator[tuple[str, str]]:
    """Each unbounded repetition: a text that leads to it, and one that it repeats."""
    for item in items:
        kind, value = item
        for part in _parts(kind, value):
            yield from _repetitions(part, before)
        if kind in _REPEATS and (value[1] is sre.MAXREPEAT or value[1] > _LONG):
            yield from ((before, body) for body in _texts(value[2]) if body)
        before += min(_texts(_one(items, item)), key=len)


def _parts(kind: Any, value: Any) -> Sequence[Any]:
    if kind in _REPEATS:
        return [value[2]]
    if kind is sre.BRANCH:
        return list(value[1])
    if kind is sre.SUBPATTERN:
        return [value[3]]
    if kind is sre.ATOMIC_GROUP:
        return [value]
    return [value[1]] if kind in (sre.ASSERT, sre.ASSERT_NOT) else []


def _texts(items: Any, most: int = 12) -> list[str]:
    """A few texts that the items match, each repetition as short as it may be."""
    texts = [""]
    for item in items:
        kind, value = item
        options: list[str] = []
        if kind in _SINGLE:
            options = _characters(items, item)[:most]
        elif kind in _REPEATS:
            options = [text * value[0] for text in _texts(value[2], 3)] if value[0] else []
        elif kind not in (sre.ASSERT, sre.ASSERT_NOT):
            options = [text for part in _parts(kind, value) for text in _texts(part, 4)]
        texts = [text + option for text in texts for option in options or [""]][: 4 * most]
    return texts


def _characters(items: Any, item: Any) -> list[str]:
    """Characters that one item matches."""
    kind, value = item
    if kind is sre.LITERAL:
        return [chr(value)]
    members = value if kind is sre.IN else ()
    own = [one[1] if one[0] is sre.LITERAL else one[1][0] for one in members if one[0] in _NAMING]
    matcher = _compiler.compile(_one(items, item))
    return [character for character in [*_CHARACTERS, *map(chr, own)] if matcher.match(character)]


def _one(items: Any, item: Any) -> Any:
    """A pattern of one item of another."""
    return _parser.SubPattern(items.state, [item])
