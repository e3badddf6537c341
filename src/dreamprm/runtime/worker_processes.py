"""Worker processes that begin with the heavy imports done."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""What a terminal or a scheduler sends to all processes, to have the first one stop the others."""


def worker_context(preload: Sequence[str]) -> BaseContext:
    """A context whose processes are forked from one that has imported `preload` and does nothing else.

    Spawned ones would each import torch and the model library, some five seconds of a core; forked ones would
    inherit this process's threads and its device. Where there is no such server (Windows), they are spawned.

    The server, and every process of the context until it unblocks them, is deaf to the signals `STOPPING`:
    it must outlive what its processes have to finish.

    Args:
        preload: modules by name; the first call of a program decides.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
