"""Many answers checked at once: order, concurrency, and what happens where the judge gives no reply."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dreamprm.answers import Judgement, check_all
from dreamprm.answers.concurrency import JudgeDisplay
from dreamprm.config.errors import UserError
from dreamprm.generators.base import GenerationError, Generator


@dataclass
class Judge(Generator):
    """Only tells how many may ask it at once, and that it was closed."""

    parallel: int = 1
    closed: threading.Event = field(default_factory=threading.Event)

    def complete_all(self, requests, sampling):
        raise AssertionError("the calls of these tests ask nobody")

    def close(self):
        self.closed.set()


def says(number: int, *, after: Callable[[], None] = lambda: None) -> Callable[[], Judgement]:
    def call() -> Judgement:
        after()
        return Judgement("right", str(number), "")

    return call


def fails(error: BaseException) -> Callable[[], Judgement]:
    def call() -> Judgement:
        raise error

    return call


@pytest.mark.parametrize("judge", [None, Judge(), Judge(parallel=5)])
def test_judgements_come_in_the_order_of_the_calls(judge) -> None:
    calls = [says(k, after=lambda k=k: time.sleep(0.002 * (k % 3))) for k in range(30)]
    assert [one.extracted for one in check_all(calls, judge=judge)] == [str(k) for k in range(30)]
    assert check_all([], judge=judge) == []


def test_as_many_run_at_once_as_the_judge_takes() -> None:
    everybody = threading.Barrier(4)  # passes only when four calls wait at once
    calls = [says(k, after=lambda: everybody.wait(30)) for k in range(8)]
    assert len(check_all(calls, judge=Judge(parallel=4))) == 8
    running, most, lock = [0], [0], threading.Lock()

    def counted() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1

    check_all([says(k, after=counted) for k in range(12)], judge=Judge(parallel=3))
    assert most == [3]


def test_a_missing_reply_leaves_the_others_and_is_told_at_the_end() -> None:
    seen = []
    calls = [says(k, after=lambda k=k: seen.append(k)) for k in range(40)]
    calls[7] = fails(GenerationError("busy"))
    calls[9] = fails(GenerationError("still busy"))
    with pytest.raises(
        UserError,
        match=r"no reply for 2 of 40 answers; the first: busy\. .*"
        "run the same command again: the other replies are kept",
    ):
        check_all(calls, judge=Judge(parallel=2))
    assert sorted(seen) == [k for k in range(40) if k not in (7, 9)]


def test_a_judge_that_is_gone_is_not_asked_on() -> None:
    asked = []

    def gone() -> Judgement:
        asked.append(0)
        raise GenerationError("no route")

    judge = Judge(parallel=2)
    with pytest.raises(UserError, match=r"of 200 answers; the first: no route"):
        check_all([gone] * 200, judge=judge)
    # More than 5 % and what was under way, far from all.
    assert 11 <= len(asked) <= 20 and judge.closed.is_set()


@pytest.mark.parametrize("error", [UserError("no such model"), KeyboardInterrupt(), ZeroDivisionError()])
def test_what_ends_the_run_ends_it_at_once(error: BaseException) -> None:
    seen, judge = [], Judge()
    slow = says(2, after=lambda: (time.sleep(0.05), seen.append(0)))
    calls = [says(0), fails(error), *[slow] * 50]
    with pytest.raises(type(error)):
        check_all(calls, judge=judge)
    assert len(seen) <= 3 and judge.closed.is_set()


def test_a_call_that_hangs_is_ended_by_closing_the_judge(monkeypatch) -> None:
    monkeypatch.setattr("dreamprm.answers.concurrency.GRACE_SECONDS", 0.05)
    judge, stream = Judge(parallel=2), io.StringIO()
    display = JudgeDisplay("lines", stream=stream)
    hanging = says(1, after=lambda: judge.closed.wait(60))
    with pytest.raises(UserError, match="no such model"):
        check_all(
            [hanging, fails(UserError("no such model"))],
            judge=judge,
            display=display,
        )
    assert stream.getvalue() == "waiting up to 0.05 s for 1 calls in progress\n"


def test_it_says_how_far_it_is() -> None:
    display = JudgeDisplay("lines", every=0.0, stream=(stream := io.StringIO()))
    check_all([says(k, after=lambda: time.sleep(0.01)) for k in range(3)], judge=Judge(), display=display)
    assert stream.getvalue().splitlines()[-1].startswith("judged 3 of 3 answers  0:00")


def test_it_says_how_long_the_rest_takes_and_what_got_no_reply() -> None:
    now, stream = [0.0], io.StringIO()
    with JudgeDisplay("lines", every=10.0, stream=stream, clock=lambda: now[0]) as display:
        display.begin(40)
        now[0] = 5.0
        display.count(judged=5, failed=0)
        now[0] = 20.0
        display.count(judged=8, failed=2)
    assert stream.getvalue() == "judged 8 of 40 answers  0:20  about 1:15 left  2 without a reply\n"
