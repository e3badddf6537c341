"""Requests that arrive at the same time go through the model together: one queue, one thread that scores."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from dreamprm.config.errors import UserError
from dreamprm.models.aggregation import aggregates_of
from dreamprm.scorers.base import CandidateScores, ScoringTask


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """The scores of one candidate.

    Attributes:
        log_odds: of each step, or a single one.
        aggregates: every aggregate of them by name, as log-odds.
    """

    log_odds: tuple[float, ...]
    aggregates: dict[str, float]


Scored = list[ScoredCandidate | UserError]
"""The results of one task, one per candidate."""


class Scorer(Protocol):
    """The part of a `StepScorer` that this module uses."""

    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]: ...


class ModelFailed(Exception):
    """The model raised; everything that went through it together is answered so."""


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """One task that waits for the model.

    Attributes:
        task: what to score.
        key: equal for tasks with the same question and the same images, which are then read once.
        tokens: of all its candidates.
        future: gets the results; cancelled while it waits, the task is dropped.
        arrived: when, on the monotonic clock.
    """

    task: ScoringTask
    key: tuple[str, ...]
    tokens: int
    future: Future[Scored] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """What a batch took: its tasks, candidates and tokens, seconds in the model, the tasks' seconds of
    waiting."""

    tasks: int
    candidates: int
    tokens: int
    seconds: float
    waited: tuple[float, ...]
    failed: bool


class Batcher:
    """Collects tasks and scores them in a thread of its own, which nothing but a task ever stops.

    A batch begins with the task that has waited longest, and takes those after it, in order of arrival, up to
    `tokens`. It starts when it is full, when its first task has waited for `window` seconds, or when no more
    tasks are `expected`: while the model computes, the next batch gathers by itself, so that a window only
    matters when the model is idle.

    Args:
        scorer: used by that thread only.
        window: in seconds.
        tokens: of a batch; a larger task is a batch alone.
        expected: whether a request is being received or read at this moment.
        told: receives the figures of each batch.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        window: float,
        tokens: int,
        expected: Callable[[], bool] = lambda: True,
        told: Callable[[BatchFigures], None] = lambda figures: None,
    ) -> None:
        self._scorer, self._window, self._tokens = scorer, window, tokens
        self._expected, self._told = expected, told
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Sequence[Work]) -> None:
        """Queue tasks of one request, next to each other.

        Raises:
            RuntimeError: the batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.extend(work)
            self._changed.notify_all()

    def look(self) -> None:
        """Look again whether tasks are `expected`, which may have changed."""
        with self._changed:
            self._changed.notify_all()

    @property
    def waiting_tokens(self) -> int:
        """Tokens in the queue."""
        with self._changed:
            return sum(work.tokens for work in self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self, timeout: float | None = None) -> None:
        """Score what is queued, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._score(batch)

    def _next(self) -> list[Work] | None:
        """The next batch; None at the end. Tasks that were cancelled meanwhile are dropped."""
        with self._changed:
            while True:
                while self._waiting and not self._wanted():
                    self._waiting.popleft()
                if not self._waiting:
                    if self._closed:
                        return None
                    self._changed.wait()
                    continue
                left = self._waiting[0].arrived + self._window - time.monotonic()
                full = sum(work.tokens for work in self._waiting) >= self._tokens
                if left <= 0 or full or self._closed or not self._expected():
                    break
                self._changed.wait(left)
            batch: list[Work] = []
            tokens = 0
            while self._waiting:
                if batch and tokens + self._waiting[0].tokens > self._tokens:
                    break
                work = self._waiting.popleft()
                # From here on it cannot be cancelled, so that its future takes the result.
                if work.future.set_running_or_notify_cancel():
                    batch.append(work)
                    tokens += work.tokens
            return batch

    def _wanted(self) -> bool:
        return not self._waiting[0].future.cancelled()

    def _score(self, batch: list[Work]) -> None:
        if not batch:
            return
        started = time.monotonic()
        results: list[Scored] = []
        tokens, failed = 0, False
        try:
            results, tokens = _merged_scores(self._scorer, batch)
        except UserError as error:  # nothing can be scored, and why is for everyone
            results = [[error] * len(work.task.candidates) for work in batch]
        except BaseException as error:  # whatever it is, the next batch may be scored
            traceback.print_exc()
            failed = True
            for work in batch:
                work.future.set_exception(ModelFailed(type(error).__name__))
        # Told first: who has an answer finds it counted.
        self._told(
            BatchFigures(
                tasks=len(batch),
                candidates=sum(len(work.task.candidates) for work in batch),
                tokens=tokens,
                seconds=time.monotonic() - started,
                waited=tuple(started - work.arrived for work in batch),
                failed=failed,
            )
        )
        for work, found in zip(batch, results, strict=False):
            work.future.set_result(found)


def _merged_scores(scorer: Scorer, batch: Sequence[Work]) -> tuple[list[Scored], int]:
    """The results of each task, and how many tokens the model read for all of them.

    Tasks of one question become one, so that what they share is computed once; equal candidates are scored
    once.

    Raises:
        AssertionError: the scorer does not answer what it was asked.
    """
    places: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    first: dict[tuple[str, ...], ScoringTask] = {}
    for work in batch:
        first.setdefault(work.key, work.task)
        numbers = places.setdefault(work.key, {})
        for steps in work.task.candidates:
            numbers.setdefault(steps, len(numbers))
    tasks = [ScoringTask(task.question, task.images, tuple(places[key])) for key, task in first.items()]
    found = scorer.score(tasks)
    # Not `assert`: a wrong pairing would be somebody else's answer.
    if len(found) != len(tasks):
        raise AssertionError(f"the scorer answers {len(found)} questions of {len(tasks)}")
    tokens = 0
    for task, results in zip(tasks, found, strict=True):
        if len(results) != len(task.candidates):
            raise AssertionError(f"the scorer answers {len(results)} candidates of {len(task.candidates)}")
        for steps, one in zip(task.candidates, results, strict=True):
            if isinstance(one, CandidateScores):
                tokens += one.tokens
                if len(one.log_odds) not in (1, len(steps)):
                    raise AssertionError(
                        f"the scorer gives {len(one.log_odds)} scores for {len(steps)} steps"
                    )
    # Once for the whole batch: for one candidate it takes as long, 2 ms.
    flat = [one.log_odds for results in found for one in results if isinstance(one, CandidateScores)]
    aggregates = iter(aggregates_of(flat))
    scored: list[Scored] = [
        [
            ScoredCandidate(one.log_odds, next(aggregates)) if isinstance(one, CandidateScores) else one
            for one in results
        ]
        for results in found
    ]
    by_key = dict(zip(first, scored, strict=True))
    answers = [
        [by_key[work.key][places[work.key][steps]] for steps in work.task.candidates] for work in batch
    ]
    return answers, tokens
