"""Windows longer than memory: the adjoint recursion over segments, from states kept on disk, resumable."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.base import WindowResult, check_on_failure
from dreamprm.hypergrad.checkpoint_schedule import Schedule, best_schedule
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.replay import (
    surroundings,
)
from dreamprm.hypergrad.segment_sweep import SegmentSweep
from dreamprm.hypergrad.torch_errors import explained
from dreamprm.hypergrad.trees import flatten

Start = tuple[BilevelProblem, InnerOptimizer, Mapping[str, Tensor], OptimizerState, Mapping[str, Tensor]]


@dataclass(frozen=True)
class LongWindow:
    """`Adjoint` over windows whose T gradients do not fit: the same bits, in segments.

    The steps are taken once, keeping some states; then the segments are gone through from the last to the
    first, each one recomputed from the nearest state kept before it, while (lam, lam_m, lam_v) pass from
    segment to segment. Which states are kept follows the binomial schedule within `storage`. Random states
    and the buffers that losses change are kept with the states, so that dropout and BatchNorm repeat.

    With a `folder` the window survives being killed: run the same call again and it continues from the last
    state or segment. Files that belong to other params, optimizers, losses or batches are refused.

    Use it for the hypergradient through a whole training run. Not for windows whose gradients fit: `Adjoint`
    takes each gradient once, where this takes some of them several times (`stats["gradients"]` in all, of T).

    Args:
        adjoint: how products are taken, and where a segment's gradients are kept.
        storage: bytes for each entry of the params that checkpoints, a segment's gradients and states, and
            the sweep's progress may take together on disk and in memory, in addition to the params and
            moments of plain training and the graph of one step. With a folder and float32, 150 takes 4.3
            times T gradients at T = 1000, 500 takes 2.1 times.
        folder: for files of a window that can be resumed; it is made where it is missing, and its files are
            deleted when the window is complete. None: a temporary folder.

    Raises:
        ValueError: storage is not positive or too small for one step, or adjoint is not an `Adjoint`.

    Source: Griewank and Walther, ACM TOMS 26 (2000) for the schedule; MAGIC (Ilyas and Engstrom, arXiv
    2503.13751) replays whole training runs likewise.
    """

    adjoint: Adjoint = field(default_factory=Adjoint)
    storage: float = 150.0
    folder: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.adjoint, Adjoint):
            raise ValueError(f"adjoint must be an Adjoint, got {self.adjoint!r}")
        if not (self.storage > 0 and math.isfinite(self.storage)):
            raise ValueError(f"storage must be > 0 bytes per entry of the params, got {self.storage}")

    def schedule(self, optimizer: InnerOptimizer, params: Mapping[str, Tensor], *, steps: int) -> Schedule:
        """How a window of so many steps would be gone through.

        Raises:
            ValueError: steps < 1, or `storage` is too small for one step.
        """
        if steps < 1:
            raise ValueError(f"steps must be >= 1, got {steps}")
        entries = sum(p.numel() for p in params.values())
        param = sum(p.numel() * p.element_size() for p in params.values())
        gradient = sum(p.numel() * self._gradient_bytes(p) for p in params.values())
        moments = sum(
            p.numel() * p.element_size() * len(optimizer.kinds_of(name, p)) for name, p in params.items()
        )
        state = param + moments
        # the end's state and lam with its moments, whose file is written next to the one that it replaces
        fixed = 0 if self.folder is None else 3 * state
        try:
            return best_schedule(
                steps,
                room=self.storage * entries - fixed,
                state=state,
                gradient=gradient,
                checkpoint=self.adjoint.checkpoint,
            )
        except ValueError:
            least = (fixed + gradient + (state if self.adjoint.checkpoint == "keep" else 0)) / max(entries, 1)
            raise ValueError(
                f"storage={self.storage:g} bytes per entry is too small; one step at a time takes {least:g}"
            ) from None

    def _gradient_bytes(self, param: Tensor) -> int:
        return min(2, param.element_size()) if self.adjoint.keep == "bf16" else param.element_size()

    def run_window(
        self,
        problem: BilevelProblem,
        optimizer: InnerOptimizer,
        params: Mapping[str, Tensor],
        state: OptimizerState,
        alpha: Mapping[str, Tensor],
        *,
        steps: int,
        batch: Callable[[int], Any],
        outer_batch: Any,
        on_failure: str = "return",
    ) -> WindowResult:
        """Take `steps` inner steps and compute the gradient in alpha of the outer loss after them.

        Args:
            problem, optimizer, params, state, alpha, outer_batch, on_failure: as in `Estimator.run_window`;
                params and state are not modified.
            steps: T.
            batch: step (0 to T - 1) -> batch; called several times for a step, with the same result.

        Returns:
            The `WindowResult` of `Adjoint.run_window` on these batches, with the same bits (with keep="bf16"
            nearer to the exact gradient: each segment's states are recomputed from its own start). stats has
            `gradients` (inner gradients taken, by this process) and `segments`.

        Raises:
            ValueError: as in `Estimator.run_window`, and files in `folder` that are of another window.
        """
        check_on_failure(on_failure)
        if problem.sharding is not None:
            raise ValueError(
                "LongWindow takes whole params, and by problem.sharding these are shards; take Adjoint "
                "with offload and checkpoint=recompute"
            )
        schedule = self.schedule(optimizer, flatten(params, kind="params").tensors, steps=steps)
        folder = tempfile.TemporaryDirectory() if self.folder is None else nullcontext(Path(self.folder))
        given, given_alpha = flatten(params, kind="params"), flatten(alpha, kind="alpha")
        rebuilt = problem.rebuilding(given.rebuild, given_alpha.rebuild)
        start = (rebuilt, optimizer, given.tensors, state, given_alpha.tensors)
        devices = {tensor.device for tensor in (*given.tensors.values(), *given_alpha.tensors.values())}
        with folder as where, torch.inference_mode(False), torch.enable_grad(), explained():
            run = SegmentSweep(
                self.adjoint,
                schedule,
                Path(where),
                start,
                batch=batch,
                outer_batch=outer_batch,
                resumable=self.folder is not None,
            )
            run.recognise()
            before = surroundings(rebuilt, devices)
            try:
                window = run.through()
            except BaseException:
                before.restore()  # of a window that did not happen
                raise
        return self.adjoint.finished(window, run.task, params, alpha, on_failure=on_failure)
