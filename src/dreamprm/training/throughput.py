"""How fast a training goes and what memory it takes: CoTs and tokens a second, waiting, peak."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

import torch

from dreamprm.training.processes import Processes

MEASURED = (
    "seconds",
    "window_seconds",
    "waiting_seconds",
    "cots_per_second",
    "tokens_per_second",
    "peak_memory_gib",
)
"""Keys of metrics.jsonl that are no part of the training: another run has others."""
GIB = 2**30


class Throughput:
    """What the windows of a run take, counted over all processes.

    Args:
        processes: those that train the run.
        clock: returns increasing seconds; for tests.
    """

    def __init__(self, processes: Processes, *, clock: Any = time.monotonic) -> None:
        self._processes, self._clock = processes, clock
        self._rows = self._tokens = 0
        self._waited = 0.0
        self._begun = clock()

    def counted(self, source: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same batches; their rows, tokens and the time that they were waited for are counted."""
        while True:
            asked = self._clock()
            batch = next(source, None)
            self._waited += self._clock() - asked
            if batch is None:
                return
            for part in batch.get("parts", [batch]):  # micro-batches
                for mask in (part[name]["attention_mask"] for name in ("inputs", "text") if name in part):
                    self._rows += mask.shape[0]
                    self._tokens += int(mask.sum())
            yield batch

    def begin(self) -> None:
        """A window begins."""
        self._rows = self._tokens = 0
        self._waited, self._begun = 0.0, self._clock()

    def figures(self) -> dict[str, float]:
        """Of the window since `begin`, for its line of metrics.jsonl; together.

        Time and waiting are this process's; the peak of memory (resident, or of its GPU) is the largest of
        any process since it started.
        """
        seconds = max(self._clock() - self._begun, 1e-9)
        rows, tokens = self._processes.added(self._rows, self._tokens)
        return {
            "window_seconds": round(seconds, 4),
            "waiting_seconds": round(self._waited, 4),
            "cots_per_second": round(rows / seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "peak_memory_gib": round(self._processes.largest(peak_memory(self._processes.device)) / GIB, 3),
        }


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that the GPU's allocator has handed out; on a CPU the process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pace(figures: dict[str, float]) -> str:
    """The figures for the progress line."""
    return f"{figures['tokens_per_second']:,.0f} tokens/s  {figures['peak_memory_gib']:.1f} GiB"
