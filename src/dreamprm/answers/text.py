"""Answers in words, compared after normalisation."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import permutations

from dreamprm.answers.base import Checker, Judgement, Verdict, read_stated
from dreamprm.answers.numeral import WORDS
from dreamprm.answers.plain import plain
from dreamprm.data.records import QuestionRecord
from dreamprm.responses import Stated


@dataclass(frozen=True)
class TextChecker(Checker):
    """Right if the words are the same after normalisation (`normalised`); it has no settings.

    Use it for names and short phrases. If the reference is yes, no, true or false, the first word of the
    answer decides ("No, because ..."). Undecided if one of the two contains the other ("Paris" and "Paris,
    France", "no" and "no change"), which a judge or a person has to decide, and if nothing marks an answer
    and the response's last line is a different text. A list is right only in the same order,
    unless the reference joins its items by "and" or "or".
    """

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the words; `extracted` is the answer as written."""
        stated = read_stated(response)
        if isinstance(stated, Judgement):
            return stated
        return self.compare(stated, question.answer)

    def compare(self, stated: Stated, reference: str) -> Judgement:
        """Judge an answer that has already been extracted from a response."""
        extracted = plain(stated.text)
        given, right = normalised(stated.text), normalised(reference)
        if not given:
            return Judgement("undecided", None, f"{stated.how}: no words")
        if given == right and (stated.marked or stated.alone):
            return Judgement("right", extracted, f"{stated.how}: the same words")
        if given in _orders(reference) and (stated.marked or stated.alone):
            return Judgement("right", extracted, f"{stated.how}: the same words in another order")
        first = given.split()[0]
        if right in _TRUTHS and len(_TRUTHS & set(given.split())) > 1:
            return Judgement("undecided", extracted, f"{stated.how}: both of two answers")
        if right in _TRUTHS and first in _TRUTHS and stated.marked:
            agrees: Verdict = "right" if first == right else "wrong"
            return Judgement(agrees, extracted, f"{stated.how}: its first word")
        if not stated.marked:
            return Judgement("undecided", extracted, "no answer is marked, and the last line is different")
        if f" {right} " in f" {given} " or f" {given} " in f" {right} ":
            return Judgement("undecided", extracted, f"{stated.how}: one contains the other")
        return Judgement("wrong", extracted, f"{stated.how}: different words")


# `a` may be a letter: in "A, B" and "A and B", before one letter, and where it names one of several things: a
# capital within a text ("sample A is hotter").
_ARTICLES = re.compile(
    r"\b(?:(?:[aA]n|[tT]he|AN|THE)\b|(?:(?<!\w )(?<!\w  )A|a)\s+(?!(?:and|or|is|are|to)\b)(?=\w\w))"
)
_BETWEEN = re.compile(r"\s*(?:,\s*(?:and|or)\b|[,;&]|\b(?:and|or)\b)\s*", re.IGNORECASE)
_NO_ORDER = re.compile(r"\b(?:and|or)\b|&", re.IGNORECASE)
_TRUTHS = frozenset({"yes", "no", "true", "false"})
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})\b")
_MARKS = re.compile(r"[^\w\s+\-*/^=<>\\%\u00b0.:]|(?<!\d)[.:]|[.:](?!\d)|(?<=[^\W\d])-(?=[^\W\d]{2})|_")


def _orders(reference: str) -> set[str]:
    """The words of a reference such as "red and blue" in any order of its items; none for other ones."""
    parts = [normalised(part) for part in _BETWEEN.split(plain(reference))]
    if len(parts) > 5 or not all(parts) or not _NO_ORDER.search(plain(reference)):
        return set()
    joint = " or " if re.search(r"\bor\b", reference) else " "
    return {joint.join(order) for order in permutations(parts)}


def normalised(text: str) -> str:
    """Words as they are compared: without markup, case, width variants, articles, punctuation and extra
    space.

    Number words up to ninety-nine become digits, "&" becomes "and", and all separators of list items (comma,
    semicolon, "and") are treated alike. Signs that carry meaning stay: `+ - * / ^ = < > \\ %` and the point
    or colon within a number. A text that is only an article ("A") keeps it.

    Args:
        text: an answer or an option, with or without LaTeX.

    Returns:
        Lower-case words with single spaces; "" if there was only punctuation.
    """
    words = unicodedata.normalize("NFKC", plain(text))
    words = re.sub(r"\\[{}]", " ", words).replace("&", " and ")
    without = _ARTICLES.sub(" ", words)
    words = (without if without.strip() else words).casefold()
    words = _NUMBER_WORD.sub(lambda match: str(WORDS[match.group()]), words)
    # 2 \\pi is 2\\pi, a + b is a+b and 1 : 2 is 1:2.
    words = re.sub(r"(?<=\d) ?: ?(?=\d)", ":", " ".join(words.split()))
    words = re.sub(r" ?([\\^/=+*<>]) ?", r"\1", " ".join(_MARKS.sub(" ", words).split()))
    return " ".join(re.sub(r"\band\b", " ", words).split())
