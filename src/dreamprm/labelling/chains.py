"""A chain of thought as text, cut into steps whose prefixes can be continued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dreamprm.data.records import Candidate
from dreamprm.responses import parse_response, split_steps


@dataclass(frozen=True)
class Chain:
    """A chain of thought.

    Attributes:
        text: the whole response.
        steps: the text of each step.
        ends: where in `text` each step ends.
        final_answer: the answer that it states, or None.
        split: how it was split (`headings`, `paragraphs`, `sentences`, `whole`; `given`: it came in steps).
        malformed: what is wrong with its form; names of `dreamprm.responses.MALFORMED`.
        correct: whether it ends right; None where that is not known yet.
    """

    text: str
    steps: tuple[str, ...]
    ends: tuple[int, ...]
    final_answer: str | None
    split: str
    malformed: tuple[str, ...] = ()
    correct: bool | None = None

    def prefix(self, step: int) -> str:
        """The text up to the end of step `step` (1 is the first), without the white space after it."""
        return self.text[: self.ends[step - 1]].rstrip()


def sampled_chain(text: str, *, split: str, expected_steps: int | None, finished: bool) -> Chain:
    """The chain of a response that was sampled here."""
    response = parse_response(text, split=split, expected_steps=expected_steps, finished=finished)
    return Chain(
        text, response.steps, response.ends, response.final_answer, response.split, response.malformed
    )


def candidate_chain(candidate: Candidate, *, split: str, expected_steps: int | None) -> Chain:
    """The chain of a candidate record: its own steps where it has some, else its text, split as told.

    A reader cuts a text that came without steps at its headings: such steps are not the record's own.
    """
    chain = sampled_chain(candidate.text, split=split, expected_steps=expected_steps, finished=True)
    if candidate.steps in ((), chain.steps, split_steps(candidate.text)):
        return replace(
            chain, final_answer=candidate.final_answer or chain.final_answer, correct=candidate.correct
        )
    text, ends = _located(candidate.text, candidate.steps)
    return Chain(text, candidate.steps, ends, candidate.final_answer, "given", (), candidate.correct)


def _located(text: str, steps: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Where the steps end in the text; in their own concatenation where the text is not made of them."""
    ends: list[int] = []
    position = 0
    for step in steps:
        found = text.find(step.strip(), position)
        if found < 0:
            return _joined(steps)
        position = found + len(step.strip())
        ends.append(position)
    return text, tuple(ends)


def _joined(steps: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    text, ends = "", []
    for step in steps:
        text += ("\n\n" if text else "") + step.strip()
        ends.append(len(text))
    return text, tuple(ends)
