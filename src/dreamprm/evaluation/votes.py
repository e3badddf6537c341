"""When two candidates give the same answer, as votes are counted."""

from __future__ import annotations

from dreamprm.answers.choice import chosen
from dreamprm.answers.extract import Stated
from dreamprm.answers.quantity import read_quantity
from dreamprm.answers.text import normalised
from dreamprm.data.records import QuestionRecord


def vote_of(final_answer: str | None, question: QuestionRecord | None = None) -> str | None:
    """The name under which a final answer is counted: equal names are votes for one answer.

    In this order: with options, the letter of the option that it names; a number with its unit, by value
    (`0.50`, `.5` and `1/2`; `25%` is not `0.25`); else its words, without dress, case, articles and
    punctuation (`dreamprm.answers.text.normalised`). The right answer is never looked at, so the vote cannot
    lean to it. Two expressions that are equal only after algebra count as different answers.

    Args:
        final_answer: as the candidate states it.
        question: where known; only its options are read.

    Returns:
        The name, such as `option B`, `number 1/2 cm`, `words parrot`; None where there is no answer.
    """
    if final_answer is None or not final_answer.strip():
        return None
    if question is not None and question.options:
        letter = chosen(Stated(final_answer, "final answer"), question).letter
        if letter is not None:
            return f"option {letter}"
    quantity = read_quantity(final_answer)
    if quantity is not None:
        unit = "%" if quantity.percent else quantity.unit
        return f"number {quantity.value}{f' {unit}' if unit else ''}"
    words = normalised(final_answer)
    # Only punctuation: still an answer of its own ("?"), told apart as it is written.
    return f"words {words or final_answer.strip()}"
