"""Answers to multiple-choice questions: the option's letter in its many forms, or the option's text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dreamprm.answers.base import Checker, Judgement, Verdict, read_stated
from dreamprm.answers.plain import plain
from dreamprm.answers.quantity import Quantity, read_quantity
from dreamprm.answers.text import normalised
from dreamprm.answers.units import converted
from dreamprm.config.errors import UserError
from dreamprm.data.records import QuestionRecord
from dreamprm.responses import Stated


@dataclass(frozen=True)
class ChoiceChecker(Checker):
    """Right if the response chooses the question's right option; it has no settings.

    The following are recognised, in this order:

    1. a letter alone or before its option: `B`, `(B)`, `b`, `B.`, `(B) text`, `B: text`, `\\text{B}`,
       "option B";
    2. an option's text: equal after normalisation, or as a number (`0.5` is the option `1/2`, 2.236 rounds to
       2.24);
    3. a letter used as one in a sentence: "... is (B)", "... is D", "B, because ...";
    4. an option's text at the end of a sentence: "the letters are P and N".

    A lower-case letter counts only alone, in brackets or after "option". The following are undecided: two
    letters ("A and C"), a letter followed by another option's text, a letter that is also another option's
    text (options `T`, `M`, `A`), and words that name no option. If all options are numbers, a number that is
    not close to any of them is wrong.
    """

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the option that the response chooses; `extracted` is its letter.

        Raises:
            UserError: the question has no options.
        """
        if not question.options:
            raise UserError(
                f"question {question.id!r} has no options; use another checker: "
                "answers.kind=auto chooses the right one for each question"
            )
        stated = read_stated(response)
        if isinstance(stated, Judgement):
            return stated
        return self.compare(stated, question)

    def compare(self, stated: Stated, question: QuestionRecord) -> Judgement:
        """Judge an answer that has already been extracted from a response."""
        choice = chosen(stated, question)
        if choice.letter is None:
            return Judgement(
                "wrong" if choice.none_of_them else "undecided",
                plain(stated.text) or None,
                choice.reason,
                unread=choice.names_none,
            )
        verdict: Verdict = "right" if choice.letter == question.answer else "wrong"
        if verdict == "wrong" and not stated.marked:
            reason = "no answer is marked, and the last line names another option"
            return Judgement("undecided", choice.letter, reason)
        return Judgement(verdict, choice.letter, f"{stated.how}: {choice.reason}")


@dataclass(frozen=True)
class Choice:
    """The option that an answer names.

    Attributes:
        letter: of the chosen option, or None.
        reason: the rule that found it, or why none could.
        none_of_them: whether the answer certainly is not an option.
        names_none: whether it names no option in any form known here, so that it may still be equal to one
            after algebra.
    """

    letter: str | None
    reason: str
    none_of_them: bool = False
    names_none: bool = False


def chosen(stated: Stated, question: QuestionRecord) -> Choice:
    """The option that an answer names, and the rule that found it."""
    text = plain(stated.text)
    options = _Options(question)
    return (
        _leading_letter(text, options)
        or _option_text(text, options)
        or _letter_in_sentence(text, options)
        or _option_at_end(text, options)
        or _no_option(text, options, stated)
    )


class _Options:
    """A question's options by letter, as they are compared."""

    def __init__(self, question: QuestionRecord) -> None:
        self.letters = question.letters
        self.texts = dict(zip(self.letters, map(plain, question.options), strict=True))
        # Options that are only their own letter (shown in the image), or an image placeholder.
        self.pictured = {
            letter
            for letter, text in self.texts.items()
            if _bare(text) == letter or re.fullmatch(r"<?image[ _]?\d*>?", text, re.IGNORECASE)
        }
        self.words = {
            letter: normalised(_without_label(text, letter))
            for letter, text in self.texts.items()
            if letter not in self.pictured
        }
        self.quantities: dict[str, Quantity] = {}
        for letter in self.words:
            quantity = read_quantity(self.texts[letter])
            if quantity is not None:
                self.quantities[letter] = quantity

    def means_another(self, letter: str) -> bool:
        """Whether a bare letter is also the text of another option."""
        return any(_bare(text) == letter for other, text in self.texts.items() if other != letter)

    def by_words(self, text: str) -> list[str]:
        words = normalised(text)
        return [letter for letter, option in self.words.items() if option and option == words]

    def by_number(self, quantity: Quantity | None) -> list[str]:
        """The options equal to this number; otherwise the decimal ones that it rounds to (2.236 to 2.24)."""
        if quantity is None:
            return []
        equal = [letter for letter, option in self.quantities.items() if _equal(quantity, option)]
        return equal or [
            letter
            for letter, option in self.quantities.items()
            if option.decimals
            and (quantity.decimals or 0) > option.decimals
            and round(quantity.value, option.decimals) == option.value
            and _one_kind(quantity, option)
        ]

    def named(self, text: str) -> list[str]:
        """The options whose text or number this is, in brackets or not."""
        inner = _inner(text)
        return self.by_words(text) or self.by_words(inner) or self.by_number(read_quantity(inner))

    def contradicts(self, letter: str, text: str) -> bool:
        """Whether a text is a number while the letter's option is another one."""
        return letter in self.quantities and read_quantity(_inner(text)) is not None

    def near(self, quantity: Quantity) -> bool:
        """Whether a number is within 1% of an option's number, and so may be that option, rounded."""
        return any(
            abs(_in_unit_of(quantity, option) - option.value) * 100 <= abs(option.value)
            for option in self.quantities.values()
        )


_LETTER = r"(?P<letter>[A-Za-z])"
# `(B)`, `[B]`, `B)`, `B.`, `B:`, `B -`, `option B`; what follows is the option's text or a reason.
_LEADING = re.compile(
    rf"^(?:(?P<named>option|choice|answer|letter)\s*+:?\s*+)?"
    rf"(?:(?P<bracket>[(\[])\s*{_LETTER}\s*[)\]]"
    r"|(?P<bare>[A-Za-z])(?P<mark>\s*[).:\]](?!\d)|\s+-\s|\s*,\s|\s*=|\s*\u9009?[\u9879\u9805]|(?=\s*$)))"
    rf"[\s.:,=-]*(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_BRACKETED = re.compile(r"(?:(?<=\s)|^|(?<=[:=]))[(\[]\s*([A-Za-z])\s*[)\]](?![\w(])")
_AFTER_NAME = re.compile(r"\b(?:option|choice|answer|letter)\s+[(\[]?([A-Za-z])\b(?!['\w])", re.IGNORECASE)
# "... ends at D", "... is C)": a capital at the end, after a word that points to it; or, if the options are
# only letters, after any word ("in region A").
_AT_END = re.compile(
    r"(?:(?:'s|\b(?:is|are|be|at|by|to|choose|select|pick|figure|picture|image|shape|diagram|graph|number))|[:=])\s+"
    r"([A-Z])\s*+[).]?\s*+$"
)
_LETTER_AT_END = re.compile(r"[a-z]\s+([A-Z])\s*+[).]?\s*+$")
# "D (1.9)", "F $12,000", "B food": a capital with its option and no mark between them.
_BESIDE = re.compile(r"^(?P<letter>[A-Z])\s+(?P<rest>\S.*)$", re.DOTALL)
_SEVERAL = re.compile(
    r"^(?:(?:both|either)\s+)?[(\[]?([A-Z])[)\]]?(?:\s*+(?:,?\s*+\b(?:and|or)\b|,|/|&)\s*+[(\[]?[A-Z][)\]]?)+$"
)
_ANOTHER = re.compile(r"^[(\s]*(?:or|and|/|&)\b", re.IGNORECASE)
# "(A) is wrong", "option A cannot be right": up to the end of the clause.
_REJECTED = re.compile(
    r"^[\s)\].]*(?:is|are|was|were|can|could|would|should|must|does|seems|has)?(?:n't|not)?\b"
    r"(?:(?!\b(?:because|since|as|but|while)\b)[^,.;])*?"
    r"(?:\b(?:not|never|incorrect|wrong|false|eliminated|excluded|rejected|impossible|unlikely|invalid)\b|n't\b"
    r"|\bcannot\b|\bruled\s+out\b|\bthe\s+(?:question|trap|distractor))",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"(?<!\s)\s*+[,(]?\s*+\b(?:because|since|due\s+to|as\s+(?:it|the|they)|which\s+(?:is|are|has))\b.*$",
    re.IGNORECASE,
)
# A rejection, or a guess among several.
_NOT = re.compile(
    r"\b(?:not|no|none|never|neither|nor|cannot|except|unless|without|could|might|may|perhaps|possibly|maybe)\b"
    r"|n't\b",
    re.IGNORECASE,
)
# "1.9 (D)"
_BEHIND = re.compile(r"^(?P<text>.*\S)\s*[(\[](?P<letter>[A-Z])[)\]]$", re.DOTALL)


def _leading_letter(text: str, options: _Options) -> Choice | None:
    if _SEVERAL.match(text) and not options.by_words(text):
        return Choice(None, "names several options")
    match = _LEADING.match(text)
    if match is None:
        return _letter_beside_its_option(text, options)
    written = match["letter"] or match["bare"]
    letter, rest = written.upper(), match["rest"].strip()
    if letter not in options.letters:
        return None
    labelled = bool(match["named"] or match["bracket"])
    if not labelled and not rest and options.means_another(letter):
        return Choice(None, f"{letter} is an option's letter and another option's text")
    if not labelled and rest:
        # "a, b" and "I. e." are not choices: lower case needs a bracket, and a comma needs a capital.
        if written.islower() and match["mark"].strip() != ")":
            return None
        if match["mark"].strip() == "," and re.match(r"[A-Za-z]\b|\d", rest):
            return None
    if rest:
        if _REJECTED.match(rest):
            return Choice(None, f"rejects option {letter}")
        if _ANOTHER.match(rest):
            return Choice(None, "names several options")
        named = options.named(rest)
        if named and letter not in named:
            return Choice(None, f"letter {letter} is followed by the text of {named[0]}")
        if not named and options.contradicts(letter, rest):
            return Choice(None, f"letter {letter} is followed by {_inner(rest)}, which is not its value")
        others = {found.upper() for found in _BRACKETED.findall(rest)} & set(options.letters) - {letter}
        if others and not named:
            return Choice(None, "names several options")
    return Choice(letter, "the letter")


def _letter_beside_its_option(text: str, options: _Options) -> Choice | None:
    match = _BESIDE.match(text)
    if match is None or match["letter"] not in options.letters:
        return None
    letter, rest = match["letter"], match["rest"]
    named = options.named(rest)
    if letter in named:
        return Choice(letter, "the letter")
    if named and letter != "A":  # "A blue ball": an article
        return Choice(None, f"letter {letter} is followed by the text of {named[0]}")
    if not named and options.contradicts(letter, rest):
        return Choice(None, f"letter {letter} is followed by {_inner(rest)}, which is not its value")
    return None


def _option_text(text: str, options: _Options) -> Choice | None:
    behind = _BEHIND.match(text)
    if behind is not None and behind["letter"] in options.letters:
        letter, named = behind["letter"], options.named(behind["text"])
        if letter in named:
            return Choice(letter, "the letter")
        if named or options.contradicts(letter, behind["text"]):
            return Choice(None, f"letter {letter} follows {behind['text']}, which is not its option")
    named = options.by_words(text) or options.by_words(_REASON.sub("", text))
    if len(named) == 1:
        return Choice(named[0], "the option's text")
    if not named:
        named = options.by_number(read_quantity(text))
        if len(named) == 1:
            return Choice(named[0], "the option's number")
    return Choice(None, f"equals the options {', '.join(named)}") if named else None


def _letter_in_sentence(text: str, options: _Options) -> Choice | None:
    found = {letter.upper() for pattern in (_BRACKETED, _AFTER_NAME) for letter in pattern.findall(text)}
    found &= set(options.letters)
    for pattern in (_BRACKETED, _AFTER_NAME):
        for match in pattern.finditer(text):
            if match[1].upper() in found and _REJECTED.match(text[match.end() :]):
                return Choice(None, f"rejects option {match[1].upper()}")
    if not found:
        only_letters = options.pictured == set(options.letters)
        end = (_LETTER_AT_END if only_letters else _AT_END).search(text)
        if end is not None and end[1] in options.letters and not options.means_another(end[1]):
            found = {end[1]}
    if len(found) > 1:
        return Choice(None, "names several options")
    if not found or _NOT.search(text):
        return None
    return Choice(found.pop(), "the letter in a sentence")


def _option_at_end(text: str, options: _Options) -> Choice | None:
    if _NOT.search(text):
        return None
    words = normalised(text)
    # Many sentences end in a one-letter or one-digit text by chance.
    named = [
        letter
        for letter, option in options.words.items()
        if len(option) > 2 and letter not in options.quantities and words.endswith(f" {option}")
    ]
    longest = max((len(options.words[letter]) for letter in named), default=0)
    named = [letter for letter in named if len(options.words[letter]) == longest]
    rest = f" {words} ".removesuffix(f" {options.words[named[0]]} ") + " " if named else ""
    if any(option and f" {option} " in rest for option in options.words.values()):
        return Choice(None, "names several options")
    return Choice(named[0], "the option's text at the end") if len(named) == 1 else None


def _no_option(text: str, options: _Options, stated: Stated) -> Choice:
    quantity = read_quantity(text)
    all_numbers = len(options.quantities) == len(options.letters)
    if stated.marked and quantity is not None and all_numbers and not options.near(quantity):
        return Choice(None, f"{stated.how}: a number that equals no option", none_of_them=True)
    return Choice(None, f"{stated.how}: names no option", names_none=True)


def _bare(text: str) -> str:
    return text.strip("()[]. ").upper() if len(text.strip("()[]. ")) == 1 else ""


def _without_label(text: str, letter: str) -> str:
    """An option's text without its label, which some files repeat: `(B) a square`."""
    return re.sub(rf"^(?:\({letter}\)|{letter}[.)])\s+(?=\S)", "", text)


def _one_kind(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers can be compared as written: one unit, percent signs on both or neither."""
    return one.percent == other.percent and (not one.unit or not other.unit or one.unit == other.unit)


def _in_unit_of(one: Quantity, other: Quantity) -> Fraction:
    """The first number in the unit of the second, if it can be converted."""
    value = converted(one.value, one.unit, other.unit) if one.unit and other.unit else one.value
    return one.value if value is None else value


def _inner(text: str) -> str:
    """A text without the brackets around it: the `1.9` of `D (1.9)`."""
    text = text.strip(" .=")
    return text[1:-1].strip(" .=") if text[:1] in "([" and text[-1:] in ")]" else text


def _equal(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers are equal, after conversion if both have units; 25% equals 0.25 without a sign."""
    if one.unit and other.unit:
        return converted(one.value, one.unit, other.unit) == other.value
    if (one.percent and other.unit) or (one.unit and other.percent):
        return False
    if one.value == other.value:
        return True
    if one.percent == other.percent:
        return False
    return one.value == 100 * other.value if one.percent else 100 * one.value == other.value
