"""Answers that are taken back: "The answer is 5. Wait, no, it is 4." """

from __future__ import annotations

import re
from dataclasses import dataclass

# A letter, a number with its unit, a formula, yes or no: what a sentence may state as an answer without
# calling it one.
VALUE = (
    r"(?:(?:option|choice|letter|answer)\s+)?(?:"
    r"\((?-i:[A-Z])\)\s[^.!?;,\n]{1,60}|"
    r"[*_]{0,3}\(?\[?(?-i:[A-Z])\]?\)?[*_]{0,3}(?!['\w])"
    r"|[*_]{0,3}[-+]?\s?[$\u20ac\u00a3]?\d[\d.,/]{0,40}(?<![.,])(?:\s?(?:%|\u00b0)|\s[^\W\d_]{1,12}(?:\^\{?\d\}?)?)?[*_]{0,3}"
    r"|\$[^$\n]{1,80}\$|\\\([^\n]{1,80}?\\\)|\*\*[^*\n]{1,60}\*\*|(?:yes|no|true|false)\b)"
)
VALUE_ENDS = r"(?=\s*(?:[.!;,)\]]|\n|\Z|\b(?:because|since|as|instead|then|not)\b))"

_BOUNDARY = (
    r"(?:[.!?;:,)\]}*$_\u2014\u2013\u2026]\s*+|(?<!\s)[^\S\n]*+\n\s*+|\s-+\s*+|\s\(\s*+"
    r"|\b(?:but|oh|hmm+|ah|and|well|or|so)[,\s]+)"
)
_TAKES_BACK = re.compile(
    _BOUNDARY
    + r"(?:wait|hmm+|hold\s+on|hang\s+on|scratch\s+that|never\s?mind|on\s+second\s+thoughts?|correction|oops|"
    r"sorry|apologies|my\s+(?:mistake|bad)|i\s+(?:made|see)\s+(?:a|an|my|the)\s+(?:\w+\s+)?(?:mistake|error)"
    r"|i\s+(?:was|am)\s+(?:wrong|mistaken)|i\s+take\s+(?:that|it)\s+back"
    r"|no(?=\s*[,.!:;\u2014-]\s)|no\s+(?:wait|it|that|this|the\s+answer)|that\s+(?:cannot|can't)\s+be"
    r"|let\s+me\s+(?:re-?(?:check|compute|calculate|consider|count|do|think|read|examine|evaluate)"
    r"|correct|start\s+over|try\s+again|fix)"
    r"|i\s+(?:need|have|should|must)\s+(?:to\s+)?(?:re-?(?:check|compute|calculate|consider|count|do|think)|correct))\b"
    r"(?:\s*[,.!:;\u2014-])*"
    r"|(?:[\u3002\uff0c\uff1b\n]|\.\s?|,\s?)(?:\u4e0d\u5bf9|\u7b49\u7b49|\u7b49\u4e00\u4e0b|\u66f4\u6b63)",
    re.IGNORECASE,
)
# Only right after the answer: later on, it is about something else.
_DENIES = re.compile(
    r"[\s.!?;:,)*_$\u2014\u2013-]*+(?:but\s+|however,?\s+|oh,?\s+)?(?:no,?\s+)?(?:that|this|the\s+above|my\s+answer|it)"
    r"(?:'s|\s+is|\s+was|\s+seems|\s+looks)\s+(?:wrong|incorrect|not\s+(?:right|correct|true|it)|false"
    r"|a\s+mistake|an\s+error)\b|[\s.!?;:,)*_$\u2014\u2013-]*+(?:is|was)\s+(?:wrong|incorrect)\b",
    re.IGNORECASE,
)
# These take an answer back only where another value follows.
_REPLACES = re.compile(
    _BOUNDARY + r"(?:actually|or\s+rather|rather|instead|in\s+fact|i\s+mean(?:t)?|more\s+precisely"
    r"|make\s+(?:it|that)|(?:it|that|this)\s+should\s+(?:be|have\s+been)|(?=should\s+be))\b",
    re.IGNORECASE,
)
_NEW_VALUE = re.compile(
    r"[\s,.:;!*_()\u2014\u2013-]*+(?:(?:no|wait|actually|oh|hmm+|sorry|so|then|i\s+mean(?:t)?|rather|correction)\b"
    r"[\s,.!:;\u2014-]*)*+"
    r"(?:(?:it|this|that|the\s+(?:(?:correct|right|final|actual|true)\s+)*(?:answer|value|result|option|choice|one))"
    r"(?:'s|\s+(?:is|was|should\s+be|must\s+be|would\s+be|should\s+have\s+been))|should\s+(?:be|have\s+been)"
    r"|i\s+(?:choose|pick|select|think|go\s+with|would\s+say)|make\s+(?:it|that)|change\s+(?:it|that)\s+to|=|is)?"
    rf"\s*(?:actually\s+|really\s+|rather\s+|now\s+)?(?P<value>{VALUE}){VALUE_ENDS}",
    re.IGNORECASE,
)
_CONFIRMS = re.compile(
    r"\b(?:yes|confirmed|indeed|checks?\s+out|(?:is|was|are|seems|looks)\s+(?:correct|right|fine|consistent)|matches)\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:not|never|no|incorrect|wrong)\b|n't\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?\n]*[^.!?\n\s][^.!?\n]*[.!?\s]*\Z")


@dataclass(frozen=True)
class Correction:
    """What a text says after an answer that it takes back.

    Attributes:
        value: the answer that replaces it, with its position in the text; None where that is unclear.
        cue: the words that take it back.
    """

    value: tuple[int, str] | None
    cue: str


def correction(text: str, begin: int, end: int) -> Correction | None:
    """Whether the answer at text[begin:end] is taken back after it, or within its own sentence.

    Args:
        text: a response.
        begin, end: where the answer stands; no later passage of the response states one.

    Returns:
        None if the answer stands.
    """
    denied = _DENIES.match(text, end)
    cues = list(_TAKES_BACK.finditer(text, begin + 1))
    if denied is not None and not cues:
        return Correction(_replacement(text, denied.end()), denied.group().strip(" .,;:!?"))
    for cue in reversed(list(_REPLACES.finditer(text, begin + 1))):
        if cues and cue.start() < cues[-1].start():
            break
        value = _replacement(text, cue.end())
        if value is not None:
            return Correction(value, cue.group().strip(" .,;:!?("))
    if not cues:
        return None
    value = _replacement(text, cues[-1].end())
    if value is None and _is_confirmed(text, cues[-1].end()):
        return None
    return Correction(value, cues[-1].group().strip(" .,;:!?(\n"))


def _replacement(text: str, position: int) -> tuple[int, str] | None:
    found = _NEW_VALUE.match(text, position)
    return None if found is None else (found.start("value"), found["value"])


def _is_confirmed(text: str, position: int) -> bool:
    """Whether the last sentence says that the answer stands: "Wait, let me check. Yes, that is correct." """
    last = _SENTENCE.search(text, max(position, len(text) - 300))
    return last is not None and bool(_CONFIRMS.search(last.group())) and not _NOT.search(last.group())
