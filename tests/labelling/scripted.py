"""Scripted parts for the tests of labelling: a generator that counts, a checker that compares numbers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from dreamprm.answers.base import Checker, Judgement
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.responses import final_answer


def question(number: int, *, answer: str = "7") -> QuestionRecord:
    """An open question without an image."""
    return QuestionRecord(f"what is {number} ?", (), answer, (), "sums", None, None, None, f"q{number}")


class ScriptedGenerator(Generator):
    """Writes what is left of five steps; right where the request's seed is odd. Counts what was asked.

    `failing` maps a part of a prompt to the error its requests come to; `before` runs ahead of each call.
    """

    def __init__(self, *, parallel: int = 1, together: int = 1) -> None:
        self.parallel, self.together = parallel, together
        self.failing: dict[str, GenerationError] = {}
        self.requests: list[Request] = []
        self.calls: list[int] = []
        self.before = lambda: None
        self._mutex = threading.Lock()

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        self.before()
        with self._mutex:
            self.calls.append(len(requests))
            self.requests += requests
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> list[Completion] | GenerationError:
        for part, error in self.failing.items():
            if part in request.prompt:
                return error
        return [
            Completion(
                continuation(request.prefix, right=(request.seed + k) % 2 == 1), 10 + request.first + k
            )
            for k in range(request.n)
        ]

    def sampled(self) -> Counter[str]:
        """Completions by prefix."""
        counts: Counter[str] = Counter()
        for request in self.requests:
            counts[request.prefix] += request.n
        return counts


def continuation(prefix: str, *, right: bool) -> str:
    """The rest of a five-step response after a prefix of whole steps."""
    written = prefix.count("Step ")
    steps = [f"Step {k}: part {k}" for k in range(written + 1, 6)]
    return ("\n" if written else "") + "\n".join(steps) + f"\nFinal answer: {7 if right else 8}"


class NumberChecker(Checker):
    """Right where the final answer is the question's; undecided where there is none."""

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        answer = final_answer(response)
        if answer is None:
            return Judgement("undecided", None, "no answer")
        return Judgement("right" if answer == question.answer else "wrong", answer, "compared")
