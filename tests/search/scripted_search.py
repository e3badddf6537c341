"""A world for the tests of search: a generator that writes digits, a scorer that likes threes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer
from dreamprm.search.chains import Chain, ChainReader
from dreamprm.search.methods import Ask, Plan

STEPS = 3


def question(number: int = 0) -> QuestionRecord:
    """Without an image; the right answer is that of three threes."""
    text = f"what is number {number} ?"
    return QuestionRecord(text, (), "333", (), "digits", None, None, None, f"q{number}")


def reader(one: QuestionRecord | None = None, **settings: Any) -> ChainReader:
    """Steps under headings, any number of them."""
    given = {"split": "headings", "expected": None, "most_steps": 32, **settings}
    return ChainReader(one or question(), **given)


def scored(text: str, value: float, *, vote: str | None = None, complete: bool = False) -> Chain:
    """A chain of one step per line."""
    return Chain(text, tuple(text.split("\n")), complete=complete, vote=vote, log_odds=(value,), value=value)


@dataclass
class DigitGenerator(Generator):
    """Writes `Step k: digit` three times, then the digits as the answer; a token is a word.

    `failing`: a question's text whose requests fail. `before` runs ahead of each call. `says_stops`: whether
    completions say what stopped them. `keeps_limit`: whether `max_tokens` cuts them.
    """

    parallel: int = 1
    together: int = 1
    failing: str = ""
    says_stops: bool = True
    keeps_limit: bool = True
    heading: str = "Step {}: "
    end: str = ""
    before: Callable[[], None] = lambda: None
    requests: list[tuple[Request, Sampling]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        self.before()
        self.calls.append(len(requests))
        self.requests += [(request, sampling) for request in requests]
        return [
            GenerationError("refused to answer")
            if self.failing and self.failing in request.prompt
            else [self._one(request, request.first + k, sampling) for k in range(request.n)]
            for request in requests
        ]

    def _one(self, request: Request, number: int, sampling: Sampling) -> Completion:
        rng = random.Random(f"{request.sequence}/{number}")
        digits = [int(digit) for digit in re.findall(r": (\d)", request.prefix)]
        lines = []
        while len(digits) < STEPS:
            digits.append(rng.randrange(4))
            lines.append(f"{self.heading.format(len(digits))}{digits[-1]}{self.end}")
        if "Final answer" not in request.prefix:
            lines.append(f"Final answer: {''.join(map(str, digits))}")
        text = ("\n" if request.prefix and lines else "") + "\n".join(lines)
        ends = [(text.find(stop), stop) for stop in sampling.stop if stop in text]
        place, by = min(ends, default=(len(text), ""))
        words = re.findall(r"\s*\S+", text[:place])
        finished = not self.keeps_limit or len(words) <= sampling.max_tokens
        if not finished:
            words, by = words[: sampling.max_tokens], ""
        known = by if sampling.stop and self.says_stops else None
        return Completion("".join(words), len(words), finished, stopped_by=known)


@dataclass
class DigitScorer(StepScorer):
    """The log-odds of a step are its digit - 1.5; three tokens each. `refused`: a text it cannot score."""

    gives: str = "step"
    refused: str = ""
    name: str = "digits"
    calls: list[list[int]] = field(default_factory=list)  # candidates of each task, by call
    before: Callable[[], None] = lambda: None

    def identity(self) -> dict[str, Any]:
        return {"scorer": self.name}

    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]:
        self.before()
        self.calls.append([len(task.candidates) for task in tasks])
        return [[self._one(steps) for steps in task.candidates] for task in tasks]

    def _one(self, steps: Sequence[str]) -> CandidateScores | UserError:
        if self.refused and any(self.refused in step for step in steps):
            return UserError("too long to score")
        values = tuple(int((re.findall(r": (\d)", step) or [0])[0]) - 1.5 for step in steps)
        return CandidateScores(values, 3 * len(steps))


def run_plan(plan: Plan, answer: Callable[[Ask], Sequence[Chain]]) -> list[list[Ask]]:
    """Answer every ask of a plan; returns its rounds."""
    rounds, sent = [], None
    while True:
        try:
            asks = next(plan) if sent is None else plan.send(sent)
        except StopIteration:
            return rounds
        rounds.append(list(asks))
        sent = [answer(ask) for ask in asks]
