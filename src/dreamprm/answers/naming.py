"""The name of an answer: what is counted as one answer in a vote, and the votes of candidates."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dreamprm.answers.auto import answer_kind, looks_symbolic
from dreamprm.answers.choice import chosen
from dreamprm.answers.numeric import read_number
from dreamprm.answers.plain import plain
from dreamprm.answers.quantity import read_quantity
from dreamprm.answers.several import read_values
from dreamprm.answers.text import normalised
from dreamprm.data.records import Candidate, QuestionRecord
from dreamprm.responses import Stated, answered_text, stated_answer

# All but those between two words.
_SPACES = re.compile(r"(?<![^\W\d_]) +| +(?![^\W\d_])")


def answer_name(stated: Stated, question: QuestionRecord | None = None) -> str | None:
    """The name under which an answer is counted: equal names are votes for one answer.

    The name holds all that a checker reads of an answer, so that answers with equal names have equal
    verdicts. In this order: with options, the letter of the option that it names; a number with its unit, by
    value (`0.50`, `.5` and `1/2`; `25%` is not `0.25`); an expression, as written except for spaces; else its
    words, without formatting, case, articles and punctuation (`dreamprm.answers.text.normalised`). Two
    expressions that are equal only after algebra count as different answers. An answer that nothing marks as
    one (a last line) is counted apart, as `unmarked ...`: it may be right, but is never wrong. Of the
    reference answer only its kind is used, which cannot bias the vote.

    Args:
        stated: what the reader found in the response.
        question: if known; its options are read, and its kind (`answer_kind`), since "room 5" is the number 5
            where a number is asked for.

    Returns:
        The name, such as `option B`, `number 1/2 cm`, `words parrot`; None if there is no answer, or if it is
        in doubt.
    """
    if stated.doubt is not None or not stated.text.strip():
        return None
    name = _name(stated, question)
    if name is None or stated.marked:
        return name
    return f"unmarked {name}" if stated.alone or not name.startswith("words ") else None


def _name(stated: Stated, question: QuestionRecord | None) -> str | None:
    if question is not None and question.options:
        choice = chosen(stated, question)
        if choice.letter is not None:
            return f"option {choice.letter}"
    # What the checker of this kind reads. The kind says nothing about which answer is right.
    kind = None if question is None else answer_kind(question)
    text = plain(stated.text)
    whole = kind == "choice" or (kind == "symbolic" and read_values(text) is not None)
    quantity = None if kind == "text" else read_quantity(text) if whole else read_number(text)
    if quantity is not None:
        unit = "%" if quantity.percent else quantity.unit
        return f"number {quantity.value}{f' {unit}' if unit else ''}"
    if kind != "text" and (looks_symbolic(text) or re.search(r"[\d()\[\]]", text)):
        return f"expression {_SPACES.sub('', text)}"
    words = normalised(stated.text)
    # Only punctuation: still an answer ("?"), compared as it is written.
    return f"words {words or stated.text.strip()}"


def vote_of(final_answer: str | None, question: QuestionRecord | None = None) -> str | None:
    """The name under which a final answer is counted (`answer_name`): equal names are votes for one answer.

    Args:
        final_answer: as the candidate states it.
        question: if known; its options and its kind are read.

    Returns:
        The name, such as `option B`, `number 1/2 cm`, `words parrot`; None if there is no answer.
    """
    return None if final_answer is None or not final_answer.strip() else _vote("", final_answer, question)


def candidate_vote(candidate: Candidate, question: QuestionRecord | None = None) -> str | None:
    """The name under which a candidate's answer is counted; None if it states none, or one in doubt.

    A `final_answer` in the file counts as the last one stated, for the vote as for the verdict
    (`answered_text`); without one, the vote is read in the text. So a candidate that is judged right can
    vote, and candidates with equal votes have equal verdicts.
    """
    return _vote(candidate.text, candidate.final_answer, question)


def candidate_votes(
    candidates: Iterable[Candidate], question: QuestionRecord | None = None
) -> tuple[str | None, ...]:
    """The votes of the candidates of one question (`candidate_vote`); each answer is named once."""
    names: dict[tuple[Stated, bool], str | None] = {}
    return tuple(_vote(one.text, one.final_answer, question, names) for one in candidates)


def _vote(
    text: str,
    given: str | None,
    question: QuestionRecord | None,
    names: dict[tuple[Stated, bool], str | None] | None = None,
) -> str | None:
    stated = stated_answer(answered_text(text, given))
    if given and not text and (stated is None or not stated.marked):
        stated = Stated(given, "final answer")  # only punctuation, or a sentence
    if stated is None:
        return None
    names = {} if names is None else names
    key = (stated, stated.alone)  # which two equal ones may differ in
    if key not in names:
        names[key] = answer_name(stated, question)
    return names[key]
