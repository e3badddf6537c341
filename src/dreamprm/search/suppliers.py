"""What a search asks for: completions and scores, from the journal or from generator and scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests, content_key, image_contents
from dreamprm.generators.base import (
    GRACE_SECONDS,
    Completion,
    GenerationError,
    Generator,
    Request,
    Sampling,
    shutdown,
)
from dreamprm.generators.cached_generator import digest_of
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer
from dreamprm.search.journal import SearchJournal

Answer = Sequence[Completion] | GenerationError
Asked = tuple[Request, Sampling]
Steps = tuple[str, ...]


@dataclass
class Completions:
    """Completions of requests; what the journal does not have is sampled and written there.

    A generator that batches gets all requests of a round with equal sampling in one call; of another,
    `generator.parallel` calls run at once, each with one request.

    Attributes:
        sampled: number of tokens sampled since the start, those of failed requests included.

    Args:
        who: JSON values that identify the generator (`generator_identity`).
        say: receives messages about calls in progress when the run is stopped.
    """

    generator: Generator
    journal: SearchJournal
    who: Mapping[str, Any]
    digests: FileDigests
    say: Callable[[str], None] = print
    sampled: int = field(default=0, init=False)
    _mutex: Any = field(default_factory=Lock, init=False, repr=False)

    def of(self, asked: Sequence[Asked]) -> list[Answer]:
        """The completions of each request, or the error that prevented them.

        Raises:
            UserError: no request can succeed as configured, or the journal cannot be written.
        """
        keys = [digest_of(self.who, request, sampling, self.digests) for request, sampling in asked]
        missing = {key: one for key, one in zip(keys, asked, strict=True) if key not in self.journal.replies}
        failed = self._bring(missing)
        return [failed[key] if key in failed else self.journal.replies[key] for key in keys]

    def _bring(self, missing: Mapping[str, Asked]) -> dict[str, GenerationError]:
        if self.generator.together > 1:
            calls = [[key for key in missing if missing[key][1] == one] for one in _kinds(missing)]
        else:
            calls = [[key] for key in missing]
        if self.generator.parallel == 1:
            found = [self._call(call, missing) for call in calls]
        else:
            found = self._at_once(calls, missing)
        return {key: error for part in found for key, error in part.items()}

    def _at_once(
        self, calls: Sequence[Sequence[str]], missing: Mapping[str, Asked]
    ) -> list[dict[str, GenerationError]]:
        flying: list[Future[dict[str, GenerationError]]] = []
        with ThreadPoolExecutor(self.generator.parallel, "search") as pool:
            try:
                flying += [pool.submit(self._call, call, missing) for call in calls]
                return [future.result() for future in flying]
            except BaseException:
                shutdown(flying, [self.generator], grace=GRACE_SECONDS, say=self.say)
                raise

    def _call(self, keys: Sequence[str], missing: Mapping[str, Asked]) -> dict[str, GenerationError]:
        """One call: ask, write. Returns the failures."""
        requests = [missing[key][0] for key in keys]
        answers = self.generator.complete_all(requests, missing[keys[0]][1])
        found: dict[str, Sequence[Completion]] = {}
        failed: dict[str, GenerationError] = {}
        for key, request, answer in zip(keys, requests, answers, strict=True):
            image_contents(request.images, self.digests)  # raises if one was replaced meanwhile
            if isinstance(answer, GenerationError):
                failed[key] = answer
            else:
                found[key] = answer
        if found:
            self.journal.add_replies(found)
        with self._mutex:
            for one in (*found.values(), *(error.completions for error in failed.values())):
                self.sampled += sum(completion.tokens for completion in one)
        return failed


@dataclass
class Scores:
    """Scores of chains; what the journal does not have is computed, in one call, and written there.

    Attributes:
        read: number of tokens that the scorer has read since the start.
    """

    scorer: StepScorer
    journal: SearchJournal
    digests: FileDigests
    read: int = field(default=0, init=False)
    _identity: str | None = field(default=None, init=False)

    def of(
        self, tasks: Sequence[tuple[str, tuple[str, ...], Sequence[Steps]]]
    ) -> list[list[CandidateScores | UserError]]:
        """The scores of each task's candidates, or why one cannot be scored.

        Args:
            tasks: (question, paths of its images, steps of each candidate).

        Raises:
            UserError: nothing can be scored, or the journal cannot be written.
        """
        keys = [
            [self._key(question, images, steps) for steps in chains] for question, images, chains in tasks
        ]
        wanted: list[ScoringTask] = []
        names: list[list[str]] = []
        named: set[str] = set()
        for (question, images, chains), row in zip(tasks, keys, strict=True):
            new = {
                key: steps
                for key, steps in zip(row, chains, strict=True)
                if key not in self.journal.scores and key not in named
            }
            if new:
                named |= new.keys()
                wanted.append(ScoringTask(question, images, tuple(new.values())))
                names.append(list(new))
        failed: dict[str, UserError] = {}
        if wanted:
            found: dict[str, CandidateScores] = {}
            for own, results in zip(names, self.scorer.score(wanted), strict=True):
                for key, result in zip(own, results, strict=True):
                    if isinstance(result, UserError):
                        failed[key] = result
                    else:
                        found[key] = result
                        self.read += result.tokens
            for task in wanted:
                image_contents([str(image) for image in task.images], self.digests)
            if found:
                self.journal.add_scores(found)
        return [[failed[key] if key in failed else self.journal.scores[key] for key in row] for row in keys]

    def _key(self, question: str, images: Sequence[str], steps: Steps) -> str:
        if self._identity is None:
            self._identity = content_key(self.scorer.identity())
        return content_key([self._identity, question, image_contents(images, self.digests), list(steps)])


def _kinds(missing: Mapping[str, Asked]) -> list[Sampling]:
    return list(dict.fromkeys(sampling for _, sampling in missing.values()))
