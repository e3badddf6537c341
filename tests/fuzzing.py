"""How tests of random input run: a few cases in every run of the tests, the same each time; as many as wished
with `--cases` (`make fuzz`), other ones in each run.

Whatever a user or a stranger's file gives must end in a right value or in a `UserError`, within `SECONDS`.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, note, settings

from dreamprm.config.errors import UserError

cases: int | None = None
"""How many cases each target gets at least; None: the few of its own. Set from `--cases`."""

SECONDS = 60
"""What takes longer hangs: a case is a text or a file of some hundred bytes, read in milliseconds."""

T = TypeVar("T")
ran = 0
"""How many cases have run in this process."""


def fuzz(
    check: Callable[..., None],
    *,
    few: int,
    most: int | None = None,
    known: Iterable[Mapping[str, Any]] = (),
    **strategies: Any,
) -> None:
    """Call `check` with random arguments; the smallest ones that it fails on are in the error.

    Args:
        few: how many cases are tried without `--cases`.
        most: how many are tried with it, for cases that take a second; None: as many as it says.
        known: arguments that were found to fail once; they are always tried.
        strategies: of hypothesis, by argument.
    """

    @functools.wraps(check)
    def watched(**arguments: Any) -> None:
        global ran
        ran += 1
        note(repr(arguments))  # shown for the smallest that fails; hypothesis shows the seed alone
        with _limited_time():
            check(**arguments)

    for arguments in known:
        check(**arguments)
    chosen = settings(
        max_examples=few if cases is None else max(few, cases if most is None else min(cases, most)),
        derandomize=cases is None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        **({"database": None} if cases is None else {}),
    )
    chosen(given(**strategies)(watched))()


def outcome(call: Callable[[], T]) -> T | UserError:
    """What a call returns, or the user error that it raises; anything else that it raises is a fault."""
    try:
        return call()
    except UserError as error:
        assert str(error).strip(), "an error without a message"
        return error


@contextmanager
def _limited_time() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"a case that takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
