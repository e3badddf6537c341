"""Ending a run over generators: what is under way gets a while, since it is paid for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, wait
from typing import Any

from dreamprm.generators.base import Generator

GRACE_SECONDS = 20.0
"""How long calls under way are waited for when a run is stopped."""


def shutdown(
    flying: Collection[Future[Any]],
    generators: Iterable[Generator | None],
    *,
    grace: float,
    say: Callable[[str], None],
) -> None:
    """After an error or a signal: calls not begun never are, those under way may end, within `grace`.

    They get a while, as what they bring is paid for; but who sent SIGTERM will not wait for long.

    Args:
        flying: the calls; each writes what it brings by itself.
        generators: closed at the end, so that calls still under way fail.
        grace: seconds, as a rule `GRACE_SECONDS`.
        say: is told what is waited for.
    """
    # All are cancelled before any is waited for: a worker that comes free begins none.
    under_way = [future for future in flying if not future.cancel()]
    under_way = [future for future in under_way if not future.done()]
    try:
        if under_way:
            say(f"waiting up to {grace:g} s for {len(under_way)} calls under way")
            wait(under_way, timeout=grace)
    finally:  # also for who presses Ctrl-C again
        for generator in generators:
            if generator is not None:
                generator.close()
