"""Checks many answers, with several requests to the judge at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TextIO, TypeVar

from dreamprm.answers.base import Judgement
from dreamprm.config.errors import UserError
from dreamprm.generators.base import GRACE_SECONDS, GenerationError, Generator, shutdown
from dreamprm.runtime.progress import CountingDisplay, duration

J = TypeVar("J", bound=Judgement)

MAX_FAILED = 0.05
"""If more than this share of answers gets no reply, the judge is taken to be down and is not asked again."""


class JudgeDisplay(CountingDisplay):
    """Shows the progress of the judging; see `CountingDisplay`."""

    def __init__(
        self,
        mode: str = "auto",
        *,
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(mode, unit="answer", every=every, stream=stream, clock=clock)
        self._judged = self._failed = 0

    def count(self, *, judged: int, failed: int) -> None:
        """Report how many answers have been judged so far, and how many got no reply."""
        ended = judged + failed - self._judged - self._failed
        self._judged, self._failed = judged, failed
        self.advance(ended)

    def _counts(self) -> str:
        return f"{self._failed:,} without a reply" if self._failed else ""

    def _line(self) -> list[str]:
        return [
            f"judged {self._judged:,} of {self.total:,} answers",
            duration(self.seconds),
            self._left(self._judged, self.total - self._judged - self._failed),
            self._counts(),
        ]


def check_all(
    calls: Sequence[Callable[[], J]],
    *,
    judge: Generator | None = None,
    display: JudgeDisplay | None = None,
) -> list[J]:
    """The results of calls of a checker, in order.

    Without a judge the calls run one after another. With a judge, `judge.parallel` of them run at once, each
    in its own thread. If a call gets no reply (GenerationError), the others continue, so that a judge that
    keeps its replies (`dreamprm.generators.cached_generator`) has to be asked only for the missing ones when
    the same command is run again.

    Args:
        calls: calls of `Checker.check` or similar.
        judge: the generator that they ask. Closed if they end with an error or a signal.
        display: shows the progress; None: on standard error.

    Raises:
        UserError: some answers were not judged because the judge gave no reply; raised after all other calls,
            or as soon as more than `MAX_FAILED` of all calls have failed.
    """
    if judge is None:
        return [call() for call in calls]
    shown = JudgeDisplay() if display is None else display
    shown.begin(len(calls))
    found: dict[int, J] = {}
    failures: dict[int, GenerationError] = {}
    waiting = iter(enumerate(calls))
    flying: dict[Future[J], int] = {}
    with shown, ThreadPoolExecutor(max(judge.parallel, 1), "judge") as pool:
        try:
            while True:
                # Queue at most twice as many calls as threads, so that failures stop the run soon.
                for number, call in islice(waiting, 2 * judge.parallel - len(flying)):
                    flying[pool.submit(call)] = number
                if not flying:
                    break
                done, _ = wait(flying, timeout=shown.every, return_when=FIRST_COMPLETED)
                for future in done:
                    number = flying.pop(future)
                    try:
                        found[number] = future.result()
                    except GenerationError as error:
                        failures[number] = error
                # When a server goes down, all of its requests in progress fail.
                if len(failures) > max(MAX_FAILED * len(calls), judge.parallel):
                    raise _unanswered(failures, len(calls))
                shown.count(judged=len(found), failed=len(failures))
        except BaseException:
            shutdown(flying, [judge], grace=GRACE_SECONDS, say=shown.say)
            raise
    if failures:
        raise _unanswered(failures, len(calls))
    return [found[number] for number in range(len(calls))]


def _unanswered(failures: Mapping[int, GenerationError], total: int) -> UserError:
    first = failures[min(failures)]
    return UserError(
        f"the judge gave no reply for {len(failures)} of {total} answers; the first: {first}. Fix the cause, "
        "then run the same command again: the other replies are kept, and only the missing ones are requested"
    )
