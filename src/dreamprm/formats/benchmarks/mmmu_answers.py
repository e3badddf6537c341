"""MMMU's rules: which option a response chooses, and whether an open response contains an accepted answer.

Reimplements `mmmu/utils/eval_utils.py` of github.com/MMMU-Benchmark/MMMU (Apache-2.0) in our own words and
code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ENDS = (",", ".", "!", "?", ";", ":", "'")
_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    # The digits' first is where a number begins: the others need not be tried.
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)

Normal = str | float


def option_in(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that a response chooses, or None if it names none.

    Looks for letters in brackets, `(A)`; else for letters between spaces, ` A `; else, in a response of more
    than five words, for the texts of options. If several are found, the last one is taken.

    Args:
        response: what a model wrote.
        options: the options' texts by letter.
    """
    for mark in _ENDS:
        response = response.strip(mark)
    text = f" {response} "
    places = {letter: text.rfind(f"({letter})") for letter in options}
    if max(places.values(), default=-1) < 0:
        places = {letter: text.rfind(f" {letter} ") for letter in options}
    if max(places.values(), default=-1) < 0 and len(text.split()) > 5:
        lower = text.lower()
        places = {letter: lower.rfind(option.lower()) for letter, option in options.items()}
    last = max(places, key=lambda letter: places[letter], default=None)
    return last if last is not None and places[last] >= 0 else None


def open_answers(response: str) -> list[Normal]:
    """The words and numbers of an open response that may be its answer, normalised.

    From each line, the shortest ending after a word such as "is", "so", "answer" (in the last line also "="),
    or the whole response if no line has one; and all numbers in these.

    Args:
        response: what a model wrote.
    """
    text = response.strip().strip(".").lower()
    lines = text.split("\n")
    ends: list[str] = []
    for position, line in enumerate(lines):
        keys = (*_KEYS, "=") if position == len(lines) - 1 else _KEYS
        behind = [line.split(key)[-1].strip() for key in keys if key in line]
        # What is empty does not replace anything: the first one that is not, or a shorter one after it.
        end = ""
        for one in behind:
            end = one if not end or len(one) < len(end) else end
        if end and end not in (*_ENDS, ":"):
            ends.append(end)
    ends = ends or [text]
    numbers = [number for end in ends for pattern in _NUMBERS for number in pattern.findall(end)]
    return [value for one in (*ends, *numbers) for value in normalised(one)]


def holds_answer(answers: Sequence[Normal], accepted: Sequence[str]) -> bool:
    """Whether one of the texts contains an accepted text, or one of the numbers is an accepted number.

    Args:
        answers: as returned by `open_answers`.
        accepted: the right answers as published.
    """
    right = [value for answer in accepted for value in normalised(answer)]
    texts = [value for value in right if isinstance(value, str)]
    return any(
        any(text in answer for text in texts) if isinstance(answer, str) else answer in right
        for answer in answers
    )


def normalised(text: str) -> list[Normal]:
    """A number rounded to two decimals, else the text in lower case (one character: with a space added)."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
