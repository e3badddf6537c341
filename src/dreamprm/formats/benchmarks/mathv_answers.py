"""MATH-V's rules: which part of a response is its answer, and when two answers are equal.

Reimplements `evaluation/evaluate.py` and `evaluation/utils.py` of github.com/mathllm/MATH-V (MIT) in our own
words and code.
"""

from __future__ import annotations

import re

from dreamprm.formats.benchmarks.latex_value import latex_value

_LETTERS = "ABCDE"
_ANSWER_IS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
_WITHOUT = (  # removed from an answer, in this order
    " ",
    "\\,",
    "\\text",
    "\\mbox",
    "\\left",
    "\\right",
    "^{\\circ}",
    "^\\circ",
    "{m}^3",
    "m^3",
    "{units}",
    "units",
    "{km}",
    "km",
    "\\!",
    "\\$",
    "$",
    "\\%",
)


def answer_in(response: str) -> str:
    """The answer of a response, in lower case and without spaces.

    Tried in this order: a letter A to E that ends the response ("... B.", "... (B).") or is alone on its
    first line; the number after the last "is"; the last box; what follows "the answer is" (or one of three
    variants) in its sentence; else the whole response. Units, dollar signs, degrees, fonts and brackets
    around a letter are removed, and only the right side of an equation is kept.

    Args:
        response: what a model wrote.
    """
    text = response.strip()
    for letter in _LETTERS:
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith(ends) or text.startswith(starts):
            text = letter
    behind = text.split("is ")[-1].rstrip(".")
    if _is_number(behind):
        text = behind
    if "oxed{" not in text:
        for phrase in _ANSWER_IS:
            for written in (phrase, phrase.replace("the", "The")):
                if written in text:
                    text = text.split(written)[-1].strip().split("\n")[0].split(". ")[0]
    elif text.count("oxed{") > 1:
        text = "\\boxed{" + text.split("oxed{")[-1]
    answer = _normalised(_unboxed(text.lower().replace("{}", "")))
    for letter in _LETTERS.lower():
        answer = answer.replace(f"({letter})", letter)
    for letter in _LETTERS.lower():
        answer = answer.replace(f"{{{letter}}}", letter)
    return answer.rstrip(".").lstrip(":").strip()


def equal(reference: str, answer: str) -> bool:
    """Whether two answers are equal: as texts in lower case, item by item, or rounded to two decimals.

    Items of a tuple or list (`(1,2)`, `[0,1]`) are each rounded to two decimals and compared as texts.

    Args:
        reference: the right answer, or the right option's text.
        answer: as returned by `answer_in`.
    """
    reference, answer = reference.lower(), answer.lower()
    if not reference.strip() or not answer.strip():
        return False
    if reference.strip() == answer.strip():
        return True
    if _rounded_items(reference) == _rounded_items(answer):
        return True
    first, second = (latex_value(_balanced(text.replace("$", ""))) for text in (reference, answer))
    return first is not None and second is not None and round(first, 2) == round(second, 2)


def _unboxed(text: str) -> str:
    """The content of the box, up to the text's last brace; cut at an unmatched closing brace."""
    _, _, behind = text.partition("oxed{")
    if "}" in behind:
        text = behind[: behind.rindex("}")]
    closed, opened = text.find("}"), text.find("{")
    if closed >= 0 and (opened < 0 or closed < opened):
        text = text[:closed]
    return text


def _normalised(text: str) -> str:
    text = text.split("=")[-1].split("\\approx")[-1].replace("\n", "")
    for mark in _WITHOUT:
        text = text.replace(mark, "")
    text = text.replace("\\\\", "\\")
    text = text.replace("\u221e", "\\infty").replace("tfrac", "frac").replace("dfrac", "frac")
    text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
    text = re.sub(r"\\sqrt(?=[^{\[])(.)", r"\\sqrt{\1}", text)
    if text == "0.5":
        return "\\frac{1}{2}"
    fraction = re.fullmatch(r"(-?\d+)/(-?\d+)", text)
    return f"\\frac{{{fraction[1]}}}{{{fraction[2]}}}" if fraction else text


def _balanced(text: str) -> str:
    """A text up to the first unmatched closing brace, which drops the remainder of a sentence."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return text[:position]
    return text


def _rounded_items(text: str) -> str:
    inside = text[1:-1].split(",")
    if len(inside) < 2 or text[0] + text[-1] not in ("()", "[]"):
        return text
    values = [latex_value(item) for item in inside]
    if any(value is None for value in values):
        return text
    return text[0] + ",".join(str(round(value, 2)) for value in values if value is not None) + text[-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
