"""What a window costs for replaying random numbers and buffers, and for looking at its backward passes.

    python -m experiments.benchmarks.guards [size=5M] [repeats=9]

Prints, for some estimators, the CPU seconds of a window with the guards over those without, medians of pairs
taken in turn: of an ordinary window, and of a watched one (windows 1, 2, 4, 8, ... of a run).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from dreamprm.hypergrad.replay import Habits, Replay
from dreamprm.runtime.process import prepare_process
from experiments.benchmarks.cases import CASES
from experiments.benchmarks.workload import Setting, build_workload

ESTIMATORS = ("first_order", "adjoint", "unrolled")


def unguarded(_: Replay, name: str, loss: Callable[..., Tensor], *, at: int) -> Callable[..., Tensor]:
    """In place of `Replay._through`: the loss itself, on batches without their numbers."""
    del name

    def evaluate(*arguments: Any) -> Tensor:
        return loss(*arguments[:at], arguments[at].batch, *arguments[at + 1 :])

    return evaluate


def seconds(window: Callable[[], Any]) -> float:
    """CPU seconds of one window."""
    begun = time.process_time()
    window()
    return time.process_time() - begun


def main(arguments: list[str]) -> None:
    """Measure and print."""
    keys = dict(one.split("=", 1) for one in arguments)
    size, repeats = keys.pop("size", "5M"), int(keys.pop("repeats", "9"))
    if keys:
        sys.exit(f"guards: unknown key {next(iter(keys))!r}; known: size, repeats")
    prepare_process(threads=1)
    print(f"PRM of {size} parameters, T = 5, one thread, {repeats} pairs; median (smallest to largest)")
    for kind in ("single", "mixed"):
        for name in ESTIMATORS:
            row = CASES[name]
            workload = build_workload(Setting(size=size, kind=kind), model=row.model)
            ratios: dict[str, list[float]] = {"ordinary": [], "watched": []}
            row.prepare(workload)()
            for _ in range(repeats):
                with patch.object(Replay, "_through", unguarded):
                    without = seconds(row.prepare(workload))
                for label, watched in (("ordinary", False), ("watched", True)):
                    with patch.object(Habits, "watched", lambda _, watched=watched: watched):
                        ratios[label].append(seconds(row.prepare(workload)) / without)
            parts = [
                f"{label} {statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"
                for label, found in ratios.items()
            ]
            print(f"{name:12} {kind:6}  {'   '.join(parts)}", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1:])
