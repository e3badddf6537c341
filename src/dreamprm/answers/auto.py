"""Chooses the right checker for each question."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from dreamprm.answers.base import Checker, Judgement, read_stated
from dreamprm.answers.choice import ChoiceChecker
from dreamprm.answers.judge import JudgeChecker
from dreamprm.answers.numeric import NumericChecker, read_number, tolerance_setting
from dreamprm.answers.plain import plain
from dreamprm.answers.quantity import read_quantity
from dreamprm.answers.several import compare_values, compare_with_one, read_values
from dreamprm.answers.symbolic import SymbolicChecker, installed, timeout_setting
from dreamprm.answers.text import TextChecker
from dreamprm.config.checking import check_settings
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import Generator
from dreamprm.responses import Stated


@dataclass
class AutoChecker(Checker):
    """Checks each question according to its kind; use it for mixed questions.

    The kind is the question's `answer_type`. If that is None, the kind follows from the question: `choice` if
    it has options, numeric if `read_quantity` can read the reference, symbolic if the reference contains
    LaTeX, brackets or operators, and otherwise text. If the checker of this kind cannot read the answer as
    one of its kind (`Judgement.unread`), it is compared as an expression:

    - a choice whose words name no option: against the right option's text if that is mathematics
      (`\\frac{\\sqrt2}{2}` for the option `1/\\sqrt2`);
    - a number (`2^{10}` for 1024).

    An answer that it could read and found uncertain (other units, a letter next to another option's value)
    stays undecided. Whatever is undecided in the end is shown to the judge, if there is one.

    Without math-verify (the extra `math`) expressions are compared as words: right if they are the same,
    otherwise undecided. The extra thus decides more answers, but never reverses a verdict.

    Attributes:
        tolerance: as in `NumericChecker`.
        timeout: as in `SymbolicChecker`, in seconds.
        judge: judges what no rule decides; None: such answers stay undecided. The caller closes it.
    """

    tolerance: float = tolerance_setting()
    timeout: float = timeout_setting()
    judge: Generator | None = None
    _choice: ChoiceChecker = field(init=False, repr=False, default_factory=ChoiceChecker)
    _text: TextChecker = field(init=False, repr=False, default_factory=TextChecker)
    _numeric: NumericChecker = field(init=False, repr=False)
    _symbolic: SymbolicChecker | None = field(init=False, repr=False)
    _judge: JudgeChecker | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_settings(self)
        self._numeric = NumericChecker(self.tolerance)
        self._symbolic = SymbolicChecker(self.timeout) if installed() else None
        self._judge = JudgeChecker(self.judge) if self.judge is not None else None

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the first checker that decides; if none does, undecided, with the first one's
        reason.

        Raises:
            GenerationError: as `JudgeChecker.check`.
        """
        stated = read_stated(response)
        if isinstance(stated, Judgement):
            if stated.extracted is None:
                return stated
            judgement = stated
        else:
            judgement = self._by_kind(stated, question)
        if judgement.verdict == "undecided" and self._judge is not None:
            judged = self._judge.check(response, question)
            return Judgement(judged.verdict, judged.extracted, f"{judgement.reason}; {judged.reason}")
        return judgement

    def close(self) -> None:
        """End the worker that compares expressions."""
        if self._symbolic is not None:
            self._symbolic.close()

    def _by_kind(self, stated: Stated, question: QuestionRecord) -> Judgement:
        kind = answer_kind(question)
        if kind in ("numeric", "symbolic"):
            several = self._several(stated, question)
            if several is not None:
                return several
        if kind == "choice":
            judgement = self._choice.compare(stated, question)
            option = question.options[question.letters.index(question.answer)]
            if judgement.unread and (looks_symbolic(option) or read_quantity(option) is not None):
                return self._or(judgement, stated, option)
            return judgement
        if kind == "symbolic" and None not in (
            read_quantity(question.answer),
            read_number(plain(stated.text)),
        ):
            kind = "numeric"
        if kind == "numeric":
            number = self._numeric.compare(stated, question)
            return self._or(number, stated, question.answer) if number.unread else number
        words = self._text.compare(stated, question.answer)
        # [0, 1) and [0, 1] are the same words.
        if kind == "text" or (
            words.verdict == "right" and _brackets(stated.text) == _brackets(question.answer)
        ):
            return words
        return self._expression(stated, question.answer)

    def _several(self, stated: Stated, question: QuestionRecord) -> Judgement | None:
        """The judgement of an answer of several values; None if neither side has several."""
        extracted = plain(stated.text)
        # 1.234,5 is one number, although each side of its comma is one too.
        right = read_values(question.answer) if read_quantity(question.answer) is None else None
        single = read_quantity if right is not None else read_number
        given = read_values(stated.text) if single(extracted) is None else None

        def equal(reference: str, value: str) -> bool | None:
            if read_quantity(reference) is not None and read_quantity(value) is not None:
                one = self._numeric.compare(Stated(value, "boxed"), replace(question, answer=reference))
            else:
                one = self._expression(Stated(value, "boxed"), reference)
            return None if one.verdict == "undecided" else one.verdict == "right"

        if right is not None and given is not None:
            verdict, reason = compare_values(right, given, equal)
        elif right is not None:
            if read_number(extracted) is None:
                return None
            if _COMMA.fullmatch(plain(question.answer)):
                decimal = replace(question, answer=plain(question.answer).replace(",", "."))
                if self._numeric.compare(stated, decimal).verdict == "right":
                    return Judgement("undecided", extracted, "a decimal comma, or two numbers")
            verdict, reason = compare_with_one(extracted, right, lambda one: equal(one, stated.text))
        elif given is not None:
            if _COMMA.fullmatch(extracted):
                with_point = Stated(extracted.replace(",", "."), stated.how)
                if self._numeric.compare(with_point, question).verdict == "right":
                    return Judgement("undecided", extracted, "a decimal comma, or two numbers")
            verdict, reason = compare_with_one(
                question.answer, given, lambda one: equal(question.answer, one)
            )
        else:
            return None
        if not stated.marked and verdict != "undecided":
            verdict, reason = "undecided", "no answer is marked"
        return Judgement(verdict, extracted, f"{stated.how}: {reason}")

    def _or(self, undecided: Judgement, stated: Stated, reference: str) -> Judgement:
        """The judgement from comparing as expressions if that decides, otherwise the given one."""
        judgement = self._expression(stated, reference)
        return undecided if judgement.verdict == "undecided" else judgement

    def _expression(self, stated: Stated, reference: str) -> Judgement:
        if self._symbolic is None:
            return Judgement("undecided", stated.text, "an expression, and math-verify is not installed")
        return self._symbolic.compare(stated, reference)


_COMMA = re.compile(r"[-+]?\d+,\d+")


def _brackets(text: str) -> str:
    return re.sub(r"[^()\[\]]", "", plain(text))


def answer_kind(question: QuestionRecord) -> str:
    """`choice`, `numeric`, `symbolic` or `text`: how a question's answer is compared."""
    if question.options:
        return "choice"
    if question.answer_type in ("integer", "float"):
        return "numeric"
    if question.answer_type in ("symbolic", "text"):
        return question.answer_type
    if read_quantity(question.answer) is not None:
        return "numeric"
    several = read_values(question.answer) is not None
    return "symbolic" if several or looks_symbolic(question.answer) else "text"


def looks_symbolic(text: str) -> bool:
    """Whether an answer is written as mathematics: LaTeX commands, operators, a tuple of numbers."""
    return _MATHEMATICS.search(text) is not None


_MATHEMATICS = re.compile(
    r"\\(?:frac|sqrt|pi|infty|cup|cap|times|cdot|[lg]eq?|pm|begin|sin|cos|tan|log|ln|theta|alpha|angle)"
    r"|[\^=<>]|\d\s*[-+*/:]\s*[\da-z(\\]|(?<![a-zA-Z])[a-zA-Z]\s*[-+*/]\s*[\da-zA-Z(](?![a-zA-Z])"
    r"|\)\s*[-+*/]|[(\[]\s*-?[\d.]+\s*,|\bsqrt\b|\d[a-z]\b"
)
