"""Functions run by several processes that have found each other, as a launcher's do."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

from dreamprm.runtime.worker_processes import STOPPING, worker_context


def together(function: Callable[..., Any], *arguments: Any, count: int = 2) -> list[Any]:
    """`function(*arguments)` in `count` processes with gloo on the CPU; what each of them returns.

    They are forked from a server that has imported torch, and ended if one of them fails.

    Args:
        function: of a module that can be imported.

    Raises:
        AssertionError: a process fails or ends without a result; with its traceback.
    """
    context: Any = worker_context(["dreamprm.training.train", "dreamprm.models.batch_loading"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[tuple[Any, Connection]] = []
    for rank in range(count):
        receiver, sender = context.Pipe(duplex=False)
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        process = context.Process(target=_one, args=(sender, environment, function, arguments))
        process.start()
        sender.close()
        started.append((process, receiver))
    results, failures = [], []
    for process, receiver in started:
        try:
            result, failure = receiver.recv()
        except EOFError:
            result, failure = None, "ended without a result"
        if failure:
            failures.append(failure)
            for other, _ in started:
                other.terminate()
        results.append(result)
        process.join()
    assert not failures, failures[0]
    return results


def _one(
    sender: Connection,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: Sequence[Any],
) -> None:
    import torch

    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with patch.dict(os.environ, environment):
        try:
            sender.send((function(*arguments), ""))
        except BaseException:
            sender.send((None, traceback.format_exc()))
