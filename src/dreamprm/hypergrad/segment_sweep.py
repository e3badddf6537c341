"""The sweep of a long window: segments recomputed from states on disk, and what a killed one resumes from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.base import WindowResult, WindowTask
from dreamprm.hypergrad.checkpoint_schedule import Schedule
from dreamprm.hypergrad.cold_start import report_cold_start
from dreamprm.hypergrad.inner_optimizer import Cotangents, InnerOptimizer, OptimizerState
from dreamprm.hypergrad.offload import open_store
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.replay import (
    Surroundings,
    pack_surroundings,
    surroundings,
    undisturbed,
    unpack_surroundings,
)
from dreamprm.hypergrad.trajectory import Point
from dreamprm.hypergrad.window_passes import outer_gradient

Start = tuple[BilevelProblem, InnerOptimizer, Mapping[str, Tensor], OptimizerState, Mapping[str, Tensor]]

# Relative difference of the losses at the start above which a folder's files are of another problem: the same
# problem differs by the order of sums at most.
SAME_LOSS = 1e-4


class SegmentSweep:
    """One run of a long window."""

    def __init__(
        self,
        adjoint: Adjoint,
        schedule: Schedule,
        folder: Path,
        start: Start,
        *,
        batch: Callable[[int], Any],
        outer_batch: Any,
        resumable: bool,
    ) -> None:
        self._adjoint, self._schedule, self._folder = adjoint, schedule, folder
        self._resumable = resumable
        self._problem, self._optimizer, self._params, self._state, self._alpha = start
        self._batch, self._outer_batch = batch, outer_batch
        self._devices = {tensor.device for tensor in (*self._params.values(), *self._alpha.values())}
        self._device = next(iter(self._params.values())).device if self._params else torch.device("cpu")
        self._stats: dict[str, Any] = {"forward": 0, "backward": 0, "gradients": 0}
        self._at: tuple[int, Point] | None = None  # the state reached last, and the segment that it starts
        self._start_surroundings: Surroundings | None = None

    def recognise(self) -> None:
        """Make the folder this window's own, or refuse it.

        Raises:
            ValueError: its files are of another window.
        """
        task = self._task(self._params, self._state, 0, 1, donate=False)
        with undisturbed(self._problem, self._devices), torch.no_grad():
            for seed in (0, 0):  # the first evaluation finds out what the losses change
                torch.manual_seed(seed)
                losses = self._losses(task)
                task = self._task(self._params, self._state, 0, 1, donate=False)
        self._start_surroundings = surroundings(self._problem, self._devices)
        self.task = task
        with undisturbed(self._problem, self._devices):
            at = Point(task.params, task.state)
            self._rounding = self._adjoint.rounding(task, at, total=self._schedule.steps)
        mark = {"digest": self._digest(), "losses": losses}
        file = self._folder / "window.pt"
        self._folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            others = sorted(path.name for path in self._folder.iterdir() if path.suffix != ".partial")
            if others and self._resumable:
                raise ValueError(
                    f"{self._folder} holds {', '.join(others[:3])}, which are no files of a long window; "
                    "give it a folder of its own"
                )
            save_atomically(file, {**mark, "surroundings": pack_surroundings(self._start_surroundings)})
            return
        held = torch.load(file, weights_only=True)
        same = all(
            abs(a - b) <= SAME_LOSS * abs(b) or a == b or (a != a and b != b)
            for a, b in zip(held["losses"], losses)
        )
        if held["digest"] != mark["digest"] or not same:
            raise ValueError(
                f"{self._folder} holds the files of another window: params, optimizer, alpha, losses, "
                "batches or settings differ; use another folder, or delete it"
            )
        self._start_surroundings = unpack_surroundings(self._problem, self._devices, held["surroundings"])

    def through(self) -> WindowResult:
        """All of it, from wherever the folder's files stand."""
        schedule, progress = self._schedule, self._folder / "sweep.pt"
        done: dict[str, Any] | None = None
        end = schedule.segments
        if progress.exists():
            done = torch.load(progress, weights_only=True, map_location=self._device)
            end = done["end"]
        kept = sorted(int(path.stem.partition("-")[2]) for path in self._folder.glob("state-*.pt"))
        for segment in [segment for segment in kept if segment >= end]:
            self._file(segment).unlink()
        kept = [0, *(segment for segment in kept if segment < end)]
        while end > 0:
            following = schedule.next_state(kept[-1], end, used=len(kept) - 1)
            if following is not None:
                self._advance(kept[-1], following)
                self._keep(following)
                kept.append(following)
                continue
            self._advance(kept[-1], end - 1)
            done = self._back_through(end - 1, done)
            end -= 1
            done["end"] = end
            if self._resumable:
                save_atomically(progress, done)
            if kept[-1] == end and end > 0:
                self._file(kept.pop()).unlink()
        assert done is not None
        return self._result(done)

    def _advance(self, kept: int, to: int) -> None:
        """Go to the start of a segment, from the state kept last or from where the run stands."""
        if self._at is None or not kept <= self._at[0] <= to:
            self._at = None
            self._at = (kept, self._load(kept))
        while self._at[0] < to:
            (segment, at), self._at = self._at, None
            first, end = self._schedule.bounds(segment)
            task = self._task(at.params, at.state, first, end, donate=False)
            owned = segment > 0
            at = self._adjoint.advance(
                task, at, batches=task.inner_batches, owned=owned, first=first, total=self._schedule.steps
            )
            self._count(end - first, forward=1, backward=1)
            self._at = (segment + 1, at)

    def _keep(self, segment: int) -> None:
        assert self._at is not None and self._at[0] == segment
        at = self._at[1]
        save_atomically(
            self._file(segment),
            {
                "params": at.params,
                "moments": at.state.moments,
                "step": at.state.step,
                "surroundings": pack_surroundings(surroundings(self._problem, self._devices)),
            },
        )

    def _load(self, segment: int) -> Point:
        """The state before a segment, with the random states and buffers there."""
        if segment == 0:
            assert self._start_surroundings is not None
            self._start_surroundings.restore()
            task = self._task(self._params, self._state, 0, 1, donate=False)
            return Point(task.params, task.state)
        held = torch.load(self._file(segment), weights_only=True, map_location=self._device)
        unpack_surroundings(self._problem, self._devices, _on_cpu(held["surroundings"])).restore()
        return Point(held["params"], self._optimizer.make_state(held["step"], held["moments"]))

    def _back_through(self, segment: int, done: dict[str, Any] | None) -> dict[str, Any]:
        """Take the steps of a segment, on record, and carry lam back to its start."""
        assert self._at is not None and self._at[0] == segment
        at, self._at = self._at[1], None
        first, end = self._schedule.bounds(segment)
        task = self._task(at.params, at.state, first, end, donate=False)
        with open_store(self._adjoint.offload) as store:
            at, record = self._adjoint.record(
                task,
                at,
                batches=task.inner_batches,
                owned=segment > 0,
                store=store,
                first=first,
                total=self._schedule.steps,
                rounding=self._rounding,
            )
            self._stats["forward"] += record.forward
            self._stats["backward"] += end - first
            self._stats["gradients"] += end - first
            losses = torch.stack([step.inner.loss for step in record.steps])
            if done is None:
                done = self._turn(task, at)
            del at
            lam = {
                name: Cotangents(
                    done["lam"].pop(name),
                    {kind: of.pop(name) for kind, of in done["moments"].items() if name in of},
                )
                for name in self._params
            }
            influences = self._adjoint.sweep(
                task, record, lam=lam, alpha_grad=done["alpha_grad"], stats=self._stats
            )
        done["cold_start_error"] = record.cold.error
        done["losses"] = torch.cat([losses, done["losses"]]) if "losses" in done else losses
        done["influences"] = influences + done["influences"]
        done["lam"] = {name: one.param for name, one in lam.items()}
        done["moments"] = {}
        for name, one in lam.items():
            for kind, tensor in one.moments.items():
                done["moments"].setdefault(kind, {})[name] = tensor
        return done

    def _turn(self, task: WindowTask, at: Point) -> dict[str, Any]:
        """The end of the way forward: what the window returns, and where the sweep starts."""
        outer = outer_gradient(task, at.params)
        self._count(1, forward=1, backward=1, gradients=0)
        save_atomically(
            self._folder / "end.pt",
            {
                "params": at.params,
                "moments": at.state.moments,
                "step": at.state.step,
                "outer_loss": outer.loss,
                "surroundings": pack_surroundings(surroundings(self._problem, self._devices)),
            },
        )
        return {"lam": outer.params, "moments": {}, "alpha_grad": outer.alpha, "influences": []}

    def _result(self, done: dict[str, Any]) -> WindowResult:
        held = torch.load(self._folder / "end.pt", weights_only=True, map_location=self._device)
        window = WindowResult(
            params=held["params"],
            state=self._optimizer.make_state(held["step"], held["moments"]),
            alpha_grad=done["alpha_grad"],
            inner_losses=done["losses"],
            outer_loss=held["outer_loss"],
            stats={**self._stats, "segments": self._schedule.segments},
        )
        if self._problem.structured:
            window.stats["influences"] = done["influences"]
        report_cold_start(window, done["cold_start_error"])
        unpack_surroundings(self._problem, self._devices, _on_cpu(held["surroundings"])).restore()
        last = [self._folder / name for name in _FILES]
        for file in (*self._folder.glob("*.partial"), *self._folder.glob("state-*.pt"), *last):
            file.unlink(missing_ok=True)
        return window

    def _task(
        self, params: Mapping[str, Tensor], state: OptimizerState, first: int, end: int, *, donate: bool
    ) -> WindowTask:
        return self._adjoint.task(
            self._problem,
            self._optimizer,
            params,
            state,
            self._alpha,
            inner_batches=[self._batch(t) for t in range(first, end)],
            outer_batch=self._outer_batch,
            donate=donate,
            first=first,
        )

    def _losses(self, task: WindowTask) -> list[float]:
        problem, batch = task.problem, task.inner_batches[0]
        inner = (
            list(problem.whole_inner_losses(task.params, batch))
            if problem.structured
            else [problem.inner_loss(task.params, task.alpha, part.batch) for part in problem.parts(batch)]
        )
        outer = [
            problem.outer_loss(task.params, task.alpha, part.batch)
            for part in problem.outer_parts(task.outer_batch)
        ]
        return [float(loss) for loss in (*inner, *outer)]

    def _digest(self) -> str:
        """Of all that decides the window besides the losses' code."""
        digest = hashlib.sha256()

        def add(value: Any) -> None:
            if isinstance(value, Tensor):
                cpu = value.detach().cpu().contiguous()
                digest.update(f"{cpu.dtype}{tuple(cpu.shape)}".encode())
                if cpu.numel():
                    digest.update(cpu.reshape(-1).view(torch.uint8).numpy().data)
            elif isinstance(value, bool | int | float | str | bytes | type(None)):
                digest.update(repr(value).encode())
            else:
                digest.update(type(value).__name__.encode())

        schedule, optimizer = self._schedule, self._optimizer
        declared: Any = optimizer
        for value in (schedule.steps, schedule.length, schedule.slots, repr(self._adjoint)):
            add(value)
        add(type(optimizer).__name__)
        for one in fields(declared) if is_dataclass(declared) else ():
            setting_value = getattr(optimizer, one.name)
            add(None if callable(setting_value) else repr(setting_value))
        add(self._state.step)
        for step in range(self._state.step, self._state.step + schedule.steps):
            add(optimizer.learning_rate(step))
        for name, p in self._params.items():
            add(name)
            add(p)
            add(optimizer.decay(name))
        for kind, moments in self._state.moments.items():
            add(kind)
            for name in moments:
                add(moments[name])
        for name, a in self._alpha.items():
            add(name)
            add(a)
        for batch in (self._batch(0), self._batch(schedule.steps - 1), self._outer_batch):
            for leaf in tree_flatten(batch)[0]:
                add(leaf)
        for _, tensor in (self._start_surroundings or Surroundings({}, [])).tensors:
            add(tensor)
        return digest.hexdigest()

    def _count(self, steps: int, *, forward: int, backward: int, gradients: int = 1) -> None:
        self._stats["forward"] += steps * forward
        self._stats["backward"] += steps * backward
        self._stats["gradients"] += steps * gradients

    def _file(self, segment: int) -> Path:
        return self._folder / f"state-{segment}.pt"


# deleted in this order: a process that is killed meanwhile leaves a folder that can be resumed
_FILES = ("sweep.pt", "end.pt", "window.pt")


def _on_cpu(packed: Mapping[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    return {kind: [tensor.cpu() for tensor in tensors] for kind, tensors in packed.items()}


def save_atomically(path: Path, value: Any) -> None:
    """`torch.save` that leaves either the old file or the new one, whenever the process is killed."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
