"""What a window costs for replaying random numbers and buffers, and for looking at its backward passes.

    python -m experiments.benchmarks.guards [size=5M] [repeats=9]

Prints, for some estimators, the CPU seconds of a window with the guards over those without, medians of pairs
taken in turn: of an ordinary window, and of a watched one (windows 1, 2, 4, 8, ... of a run). These ratios
carry the machine's noise; before them stand the microseconds that guards add to an ordinary window, from many
windows of a problem without work.
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

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator
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


def added_microseconds(*, dropout: bool, windows: int = 300) -> float:
    """CPU microseconds that the guards add to an ordinary window of T = 5 by `adjoint`."""

    def losses(params: Any, batch: Any) -> Tensor:
        return (params["w"] * torch.rand(1) if dropout else params["w"]).square().expand(1)

    problem = BilevelProblem(
        outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
        inner_losses=losses,
        weights=lambda alpha, batch, given: alpha["a"].exp().expand(1),
    )
    optimizer, params, alpha = AdamW(), {"w": torch.ones(())}, {"a": torch.zeros(())}
    start = (problem, optimizer, params, optimizer.init(params), alpha)
    adjoint = build_estimator("adjoint")

    def run() -> None:
        for _ in range(windows):
            adjoint.run_window(*start, inner_batches=range(5), outer_batch=None)

    run()
    with patch.object(Habits, "watched", lambda _: False):
        with_guards = seconds(run)
        with patch.object(Replay, "_through", unguarded):
            without = seconds(run)
    return 1e6 * (with_guards - without) / windows


def main(arguments: list[str]) -> None:
    """Measure and print."""
    keys = dict(one.split("=", 1) for one in arguments)
    size, repeats = keys.pop("size", "5M"), int(keys.pop("repeats", "9"))
    if keys:
        sys.exit(f"guards: unknown key {next(iter(keys))!r}; known: size, repeats")
    prepare_process(threads=1)
    for what, dropout in (("without random numbers", False), ("with", True)):
        print(f"added to an ordinary window, losses {what}: {added_microseconds(dropout=dropout):.0f} us")
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
