"""Signals between two windows: remembered, delivered, never lost, and let through the second time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from dreamprm.runtime import interruption
from dreamprm.runtime.interruption import DeferredInterrupt


class Terminated(Exception):
    """What the handler below raises."""


@pytest.fixture(autouse=True)
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises `Terminated`, as a handler of the command line would; Ctrl-C is Python's own."""

    def handle(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle), signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


SIGNALS = pytest.mark.parametrize(
    "number, effect", [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)


@SIGNALS
def test_the_first_signal_is_remembered_and_delivered_on_request(
    number: int,
    effect: type[BaseException],
) -> None:
    done = []
    with pytest.raises(effect), DeferredInterrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        done.append("window")
        assert interrupt.requested
        done.append("saved")
        interrupt.deliver()
        done.append("not reached")
    assert done == ["window", "saved"]


@SIGNALS
def test_the_second_signal_acts_at_once(number: int, effect: type[BaseException]) -> None:
    done = []
    with pytest.raises(effect), DeferredInterrupt():
        signal.raise_signal(number)
        done.append("first")
        signal.raise_signal(number)
        done.append("second")
    assert done == ["first"]


def test_of_two_signals_the_second_one_acts() -> None:
    with pytest.raises(Terminated), DeferredInterrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)


@SIGNALS
def test_a_signal_nobody_asked_for_acts_when_the_loop_ends(number: int, effect: type[BaseException]) -> None:
    done = []
    with pytest.raises(effect), DeferredInterrupt():
        signal.raise_signal(number)
        done.append("the last window")
    assert done == ["the last window"]


def test_an_error_goes_before_a_remembered_signal() -> None:
    with pytest.raises(ZeroDivisionError), DeferredInterrupt():
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError


def test_a_handler_that_returns_acts_once() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    with DeferredInterrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert seen == []
        interrupt.deliver()
    assert seen == [signal.SIGTERM]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with DeferredInterrupt() as interrupt:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        interrupt.deliver()  # without a signal: nothing happens
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_was_ignored_stays_ignored(number: int) -> None:
    """As in a job that a script started with `&`, where SIGINT is for the jobs in the foreground."""
    signal.signal(number, signal.SIG_IGN)
    with DeferredInterrupt() as interrupt:
        signal.raise_signal(number)
        assert not interrupt.requested
        interrupt.deliver()
    assert signal.getsignal(number) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_is_deferred() -> None:
    before = signal.getsignal(signal.SIGTERM)
    during = []

    def work() -> None:
        with DeferredInterrupt() as interrupt:
            during.append((signal.getsignal(signal.SIGTERM), interrupt.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [(before, False)]


class Ended(BaseException):
    """In place of the process's end."""


@pytest.mark.parametrize("deferred", [True, False])
def test_a_second_sigterm_ends_the_process_at_once(deferred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the first one is being cleaned up after; nothing that the program does then can hold it."""
    done: list[object] = []

    def end(code: int) -> None:
        done.append(code)
        raise Ended

    monkeypatch.setattr("os._exit", end)
    with (
        pytest.raises(Ended),
        interruption.sigterm_raises(last=lambda: done.append("told")),
        DeferredInterrupt() if deferred else nullcontext(),
    ):
        try:
            signal.raise_signal(signal.SIGTERM)
            done.append("a window goes on")
        except KeyboardInterrupt:
            done.append("cleaned up")
        signal.raise_signal(signal.SIGTERM)
        done.append("not reached")
    assert done == ["a window goes on" if deferred else "cleaned up", "told", 143]
