"""Chains of thought as a search sees them: whole or partial, scored; and how texts become steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dreamprm.answers.naming import candidate_vote
from dreamprm.data.records import Candidate, QuestionRecord
from dreamprm.generators.base import Completion
from dreamprm.responses import Response, last_step_number, parse_response
from dreamprm.responses.visible import visible

MOST_STOPS = 4
"""Stop texts that every server takes: OpenAI's limit."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of thought, complete or up to the end of a step.

    Attributes:
        text: the response so far, without white space at its end.
        steps: the text of each step.
        depth: how many continuations it was made of.
        complete: whether nothing follows: its generator ended it, or it was cut off.
        cut_off: whether a limit of tokens cut it.
        final_answer: the answer that a complete chain states, or None.
        vote: the name of that answer (`dreamprm.answers.naming`): equal names are votes for one answer. A
            chain that was cut off has none.
        log_odds: of the steps, or one of the whole so far, as the scorer gives; () until it is scored.
        value: their aggregate, as log-odds.
    """

    text: str = ""
    steps: tuple[str, ...] = ()
    depth: int = 0
    complete: bool = False
    cut_off: bool = False
    final_answer: str | None = None
    vote: str | None = None
    log_odds: tuple[float, ...] = ()
    value: float = 0.0


ROOT = Chain()
"""The question alone, before any step."""


@dataclass(frozen=True)
class ChainReader:
    """Turns completions into chains, by the package's one reader of steps.

    Attributes:
        question: answered by the chains; its options name votes.
        split: what a step is, one of `SPLITS`.
        expected: how many steps the prompt asks for; None: no particular number.
        most_steps: from so many continuations on, a chain is continued to its end.
        stop: the user's own stop texts.
    """

    question: QuestionRecord
    split: str
    expected: int | None
    most_steps: int
    stop: tuple[str, ...] = ()

    def to_the_end(self, prefix: Chain, *, whole: bool) -> bool:
        """Whether a continuation of this chain goes to the end of the response, not of one step."""
        last = self.expected is not None and len(prefix.steps) + 1 >= self.expected
        return whole or last or self.split == "whole" or prefix.depth + 1 >= self.most_steps

    def sent(self, prefix: Chain) -> str:
        """The chain as the generator is asked to continue it."""
        # A paragraph begins with the blank line at which the one before it stops.
        return prefix.text + ("\n\n" if self.split == "paragraphs" and prefix.text else "")

    def stops(self, prefix: Chain) -> tuple[str, ...]:
        """Stop texts at the end of the next step: what most often begins the step after it.

        A step that ends otherwise is cut where the reader of steps ends it, so these only save tokens.
        """
        if self.split == "paragraphs":
            marks: tuple[str, ...] = ("\n\n",)
        elif self.split in ("headings", "auto"):
            after = (last_step_number(prefix.text) or 0) + 2
            marks = tuple(f"\n{mark}Step {after}" for mark in ("", "**", "### ", "## "))
        else:
            marks = ()
        return (*self.stop, *marks)[: max(MOST_STOPS, len(self.stop))]

    def said_nothing(self, completion: Completion) -> bool:
        """Whether a completion was stopped before its step began: the generator numbers otherwise."""
        return (
            not _says(completion) and bool(completion.stopped_by) and completion.stopped_by not in self.stop
        )

    def read(self, prefix: Chain, completion: Completion, *, whole: bool) -> tuple[Chain | None, bool]:
        """The chain that a completion makes of its prefix, and whether text after its step was cut away.

        Args:
            whole: the completion goes to the end of the response (`to_the_end`).

        Returns:
            None for the chain if there is no text at all.
        """
        if not _says(completion):
            # A complete response has no continuation. Cut off, what would have come is not known.
            done = self._complete(prefix, cut_off=not completion.finished)
            return (done if prefix.steps else None), False
        text = (self.sent(prefix) + completion.text).rstrip()
        response = self._parsed(text)
        new = [end for end in response.ends if end > len(prefix.text)]
        cut_away = not whole and len(new) > 1
        if cut_away:
            text = text[: new[0]]
            response = self._parsed(text)
        chain = Chain(text, response.steps, prefix.depth + 1)
        if not cut_away and (whole or self._ended(completion, response)):
            chain = self._complete(chain, cut_off=not completion.finished)
        return chain, cut_away

    def _parsed(self, text: str) -> Response:
        return parse_response(text, split=self.split, expected_steps=self.expected)

    def _ended(self, completion: Completion, response: Response) -> bool:
        """Whether a completion that holds one new step is the last of its response."""
        if not completion.finished:
            return True
        if completion.stopped_by is None:  # a server that does not say
            return response.final_answer is not None
        return completion.stopped_by in ("", *self.stop)

    def _complete(self, chain: Chain, *, cut_off: bool) -> Chain:
        response = self._parsed(chain.text)
        candidate = Candidate(chain.text, chain.steps, response.final_answer, None, None)
        return replace(
            chain,
            complete=True,
            cut_off=cut_off,
            final_answer=response.final_answer,
            vote=None if cut_off else candidate_vote(candidate, self.question),
        )


def distinct(chains: Sequence[Chain]) -> list[Chain]:
    """The chains in order, each text once: a generator often repeats itself within one step."""
    first: dict[str, Chain] = {}
    for chain in chains:
        first.setdefault(chain.text, chain)
    return list(first.values())


def _says(completion: Completion) -> bool:
    return bool(visible(completion.text).text.strip())
