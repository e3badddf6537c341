"""Texts from outside are read in time linear in their length, whatever they hold."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
from attack_strings import attack_strings

from dreamprm.answers.choice import ChoiceChecker
from dreamprm.answers.numeric import NumericChecker
from dreamprm.answers.plain import plain
from dreamprm.answers.text import TextChecker
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.benchmarks.mathv_answers import answer_in
from dreamprm.formats.benchmarks.mathvista import MathVistaChecker
from dreamprm.formats.benchmarks.mmmu_answers import open_answers
from dreamprm.formats.benchmarks.mmvet import grading_prompt
from dreamprm.generators.openai_continuation import fit_to_prefix
from dreamprm.generators.prompting import plain_prompt
from dreamprm.responses import final_answer, parse_response, split_question
from dreamprm.responses.visible import visible

# The rooms whose patterns see responses, records, files and replies of servers; they import without torch.
ROOMS = ("answers", "data", "evaluation", "formats", "generators", "labelling", "reporting", "responses")
_NEED_TORCH = ("transformers", "local_", "plots")

# What these patterns see is short, or holds no run of white space.
BOUNDED = {
    "answers.numeral": "applied where a numeral begins, by `match`",
    "answers.numeric.SEVERAL_EQUATIONS": "400 characters",
    "answers.quantity.SEVERAL_EQUATIONS": "400 characters",
    "answers.quantity._REPEATED": "120 characters",
    "answers.quantity._FIRST_SIDE": "120 characters",
    "answers.several._SEPARATOR": "200 characters",
    "answers.text._BETWEEN": "after `plain`, which leaves single spaces",
    "responses.passages._WORD_BEFORE": "40 characters",
}


def _patterns(room: str) -> list[tuple[str, re.Pattern[str], ModuleType]]:
    package = importlib.import_module(f"dreamprm.{room}")
    found: dict[re.Pattern[str], tuple[str, ModuleType]] = {}
    for one in pkgutil.walk_packages(package.__path__, f"dreamprm.{room}."):
        if any(part in one.name for part in _NEED_TORCH):
            continue
        module = importlib.import_module(one.name)
        for name, value in vars(module).items():
            members = value if isinstance(value, tuple) else (value,)
            for member in members:
                if isinstance(member, re.Pattern) and isinstance(member.pattern, str):
                    found.setdefault(member, (f"{module.__name__.removeprefix('dreamprm.')}.{name}", module))
    return [(name, pattern, module) for pattern, (name, module) in found.items()]


def _is_searched(name: str, module: ModuleType) -> bool:
    """Whether a pattern is applied at every position of a text, not only at one."""
    uses = re.findall(rf"\b{name.rpartition('.')[2]}\b(?:\.(\w+))?", inspect.getsource(module))
    return set(uses) - {""} == set() or not set(uses) <= {"", "match", "fullmatch"} or uses.count("") > 1


@pytest.mark.parametrize("room", ROOMS)
def test_no_pattern_takes_time_that_grows_with_the_square(room: str) -> None:
    """2,000 characters are read in far less than the 20 ms that even a fast quadratic pattern needs."""
    for name, pattern, module in _patterns(room):
        if any(name == bounded or name.startswith(f"{bounded}.") for bounded in BOUNDED):
            continue
        apply: list[Callable[[str], object]] = [pattern.match]
        if _is_searched(name, module):
            apply.append(partial(pattern.sub, ""))
        for text in attack_strings(pattern, 2000):
            for one in apply:
                assert _seconds(one, text, enough=0.008) < 0.008, (name, text[:20])


def _seconds(read: Callable[[str], object], text: str, *, enough: float) -> float:
    """CPU time of a call; the best of several if it takes longer than `enough`."""
    best = float("inf")
    for _ in range(4):
        start = time.process_time()
        read(text)
        best = min(best, time.process_time() - start)
        if best < enough:
            break
    return best


def _question(answer: str = "7", options: tuple[str, ...] = ()) -> QuestionRecord:
    return QuestionRecord("what is it ?", (), answer, options, "sums", None, None, None, "q")


def _judged(checker: NumericChecker | ChoiceChecker | TextChecker, text: str) -> object:
    return checker.check(text, _question(options=("cat", "dog", "7")))


PARSE = partial(parse_response, expected_steps=5, finished=True)
NUMERIC, CHOICE, WORDS = (
    partial(_judged, checker()) for checker in (NumericChecker, ChoiceChecker, TextChecker)
)

TEXTS: dict[str, tuple[Callable[[str], object], Callable[[int], str]]] = {
    "blanks before no heading": (split_question, lambda n: "\n" + " " * n + "x"),
    "blanks behind a step's number": (split_question, lambda n: "Step 1" + " " * n + "x"),
    "thinking that closes again and again": (split_question, lambda n: "</think>" * (n // 8) + "x"),
    "thoughts": (visible, lambda n: "<think></think>" * (n // 15)),
    "text struck out": (visible, lambda n: "<s>a" + "</s>" * (n // 4)),
    "echoes of a prompt": (visible, lambda n: "[INST][/INST]" * (n // 13)),
    "words before no answer": (final_answer, lambda n: "final " * (n // 6) + "x"),
    "an answer that is far below": (final_answer, lambda n: "so" + " " * n + "x"),
    "lines behind an answer": (final_answer, lambda n: "Final answer: 1" + "\n " * (n // 2) + "x"),
    "blanks in a label": (final_answer, lambda n: "the answer" + " " * n + "choice is 7"),
    "boxes in boxes": (CHOICE, lambda n: "\\boxed{" * (n // 8) + "7" + "}" * (n // 8)),
    "braces in braces": (plain, lambda n: "{" * (n // 2) + "7" + "}" * (n // 2)),
    "emphasis that is not closed": (plain, lambda n: " **a" * (n // 4)),
    "fractions": (plain, lambda n: "1" * n + "\u00e9"),
    "a long number": (NUMERIC, lambda n: "Final answer: " + "1" * n),
    "equations without an end": (NUMERIC, lambda n: "so " + "is " * (n // 3) + "="),
    "letters": (CHOICE, lambda n: "Final answer: A" + " or A" * (n // 5) + " x"),
    "words": (WORDS, lambda n: "and , " * (n // 6)),
    "a reference": (lambda text: _judged_against(text), lambda n: " **a" * (n // 4)),
    "a fence": (partial(PARSE, split="paragraphs"), lambda n: "~" * n + "`"),
    "dollars": (partial(PARSE, split="sentences"), lambda n: "\\$" * (n // 2)),
    "labels": (partial(PARSE, split="paragraphs"), lambda n: "\nanswer:" * (n // 8)),
    "a repeated beginning": (lambda text: fit_to_prefix(text, "a" + text), lambda n: "\nStep 1: " * (n // 9)),
    "a step restated": (
        lambda text: fit_to_prefix(f"Step 1: a {text}", f"Step 1: b {text}\nStep 2: c"),
        lambda n: "a " * (n // 2),
    ),
    "blanks before a tag": (
        lambda text: fit_to_prefix("Step 1: a", text),
        lambda n: "<begun>" + " " * n + "x",
    ),
    "images": (plain_prompt, lambda n: "<image 1> " * (n // 10)),
    "MMMU's numbers": (open_answers, lambda n: "1" * n + ","),
    "MATH-V's boxes": (answer_in, lambda n: "oxed{" * (n // 5)),
    "MathVista's quotations": (
        lambda text: MathVistaChecker().check(text, _question()),
        lambda n: 'The answer is "' * (n // 15),
    ),
    "MM-Vet's reference": (lambda text: grading_prompt(_question(text), "a"), lambda n: "a" + " " * n + "b"),
}


def _judged_against(reference: str) -> object:
    return NumericChecker().check("7", _question(reference))


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_of_50_000_characters_takes_four_times_as_long_as_a_quarter(what: str) -> None:
    read, text = TEXTS[what]
    short, long = text(12_500), text(50_000)
    read(short)  # compiles and caches what is compiled and cached
    allowed = 8 * max(_seconds(read, short, enough=0.0), 0.004)  # a quadratic one takes 16 times as long
    assert _seconds(read, long, enough=allowed) < allowed
