"""Many answers checked, with a judge asked for several at once."""

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
"""The share of answers without a reply of the judge above which nothing more is asked: it is not there."""


class JudgeDisplay(CountingDisplay):
    """How far the judging is; see `CountingDisplay`."""

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
        """So many are judged by now, and so many got no reply."""
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
    """What each call of a checker says, in their order.

    Without a judge they run one after another. With one, `judge.parallel` of them run at once, each in a
    thread. Where one gets no reply (GenerationError) the others go on, so that a judge that keeps its replies
    (`dreamprm.generators.cached_generator`) has to be asked for the missing ones alone, when the same is run
    again.

    Args:
        calls: of `Checker.check` and the like.
        judge: whom they ask. Closed when they end by an error or a signal.
        display: shows how far it is; None: on standard error.

    Raises:
        UserError: answers that are not judged, as the judge gave no reply; after all others, or as soon as
            they are more than `MAX_FAILED` of all.
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
                # As many again wait for a free thread, no more: what fails ends the asking soon.
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
                # A server that went away fails all that it had under way.
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
        f"the judge gave no reply to {len(failures)} of {total} answers, the first: {first}. See to it, "
        "then start the same command again: its other replies are kept, and only the rest is asked for"
    )
