"""A judge that replies what a test says."""

from __future__ import annotations

from dataclasses import dataclass, field

from dreamprm.generators.base import Completion, GenerationError, Generator


@dataclass
class ScriptedJudge(Generator):
    """Gives its replies one after another, the last one for ever, and keeps what it was asked."""

    replies: list
    asked: list = field(default_factory=list)

    def complete_all(self, requests, sampling):
        results = []
        for request in requests:
            reply = self.replies[min(len(self.asked), len(self.replies) - 1)]
            self.asked.append((request.prompt, sampling.temperature))
            if isinstance(reply, str):
                reply = Completion(reply, 5)
            failed = isinstance(reply, GenerationError)
            results.append(reply if failed else [reply] * request.n)
        return results
