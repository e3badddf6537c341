"""One window of a configured training on tensors without values: what it holds and what it computes.

Everything between the configuration and the estimator is the training's own code (`assemble`,
`BilevelTrainer`), so that a setting is taken in where it acts, and nothing about an estimator is repeated
here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from dreamprm.config.checking import settings_read
from dreamprm.config.errors import UserError
from dreamprm.hypergrad import ESTIMATORS
from dreamprm.hypergrad.differences import rehearsed_fallback
from dreamprm.hypergrad.offload import Store, stores_made_by
from dreamprm.hypergrad.replay import habits_of
from dreamprm.training.assembly import Planned, Run, assemble
from dreamprm.training.plan.counted_memory import CountedMemory, CountedStore
from dreamprm.training.plan.longest_batches import LongestRows
from dreamprm.training.plan.tally import Counts, Work
from dreamprm.training.settings import TrainConfig

RADIUS = 1e-2
"""Of differences."""
IN_THE_MIDDLE = 2**20 + 1
"""The number of a window that does not watch its losses, nor do many that follow."""


@dataclass(frozen=True)
class PlannedDevice:
    """What `assemble` asks of an accelerator, of a device that need not be here.

    Args:
        num_processes: how many train together.
        process_index: which of them this is.
        precision: of the model's passes.
    """

    num_processes: int = 1
    process_index: int = 0
    precision: str = "fp32"

    device = torch.device("cpu")  # of the tensors without values, whatever it will be
    is_local_main_process = True

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the model's passes."""
        if self.precision == "bf16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return nullcontext()


@dataclass(frozen=True)
class Footprint:
    """What a window takes of one process's device."""

    parameters: float
    """Numbers in the model."""
    trained: float
    """Those that are trained."""
    start: Counts
    """Bytes before the window."""
    peaks: tuple[Counts, ...]
    """Bytes at the peaks (`Tally`) of each stretch: each forward pass, and what follows until the next."""
    put_away: float
    """Bytes in CPU memory or on disk, at the most."""
    batches: int
    """Bytes of the window's batches."""
    work: Work

    @property
    def peak(self) -> Counts:
        """Bytes at the peak."""
        return max(self.peaks, key=lambda counts: counts.total)

    @property
    def total(self) -> int:
        """Bytes of the device at the peak."""
        return round(self.peak.total) + self.batches

    def plus(self, other: Footprint, times: float = 1.0) -> Footprint:
        """The sum with a multiple of another, stretch by stretch; the batches are this one's."""
        return Footprint(
            parameters=self.parameters + times * other.parameters,
            trained=self.trained + times * other.trained,
            start=self.start.plus(other.start, times),
            peaks=tuple(one.plus(two, times) for one, two in zip(self.peaks, other.peaks, strict=True)),
            put_away=self.put_away + times * other.put_away,
            batches=self.batches,
            work=self.work.plus(other.work, times),
        )


def assembled(config: TrainConfig, device: PlannedDevice, planned: Planned) -> Run:
    """The run without weights; to be called while memory is counted.

    Raises:
        UserError: as `assemble`; or a setting that is not counted.
    """
    changed = config
    if getattr(config.model, "cache_trunk", "none") != "none":
        raise UserError("plan does not count model.cache_trunk; plan with none, which takes no less memory")
    if config.model.attn_implementation not in ("auto", "sdpa", "eager"):
        # Fused kernels of all names keep what torch's keep.
        changed = replace(config, model=replace(config.model, attn_implementation="sdpa"))
    given = config.hypergrad.settings
    if given.get("radius") is None and "radius" in settings_read(ESTIMATORS, config.hypergrad.name, given):
        # Without values no radius is better than another: none is looked for.
        settings = {**given, "radius": RADIUS}
        changed = replace(changed, hypergrad=replace(config.hypergrad, settings=settings))
    return assemble(changed, cast(Accelerator, device), say=_silent, planned=planned)


def count_window(
    config: TrainConfig,
    planned: Planned,
    longest: LongestRows,
    *,
    processes: int = 1,
    puts_away: Collection[str] = ("cpu", "disk"),
    memory: CountedMemory | None = None,
) -> Footprint:
    """The footprint of the first window of this training, or of its first one with an audit.

    Args:
        planned: its files, and the shapes of the backbone.
        longest: the records of its batches.
        processes: that train together; a group of them must be there (`several`).
        puts_away: values of `offload` that move something, on the device that is planned.
        memory: that has counted before, which is faster.
    """
    memory = CountedMemory() if memory is None else memory
    device = PlannedDevice(processes, longest.rank, config.precision)

    def store(offload: str) -> Store:
        return CountedStore(tally) if offload in puts_away else Store()

    with memory.counting() as tally, stores_made_by(store):
        run = assembled(config, device, replace(planned, samplers=longest.samplers))
        inner, outer = [run.step_batches[0]] * config.inner_steps, run.meta_batches[0]
        state, trainer = run.state, run.trainer
        memory.mark(run.prm.parameters(), "parameters")
        memory.mark(run.prm.buffers(), "parameters")
        memory.mark(state.params.values(), "parameters", trained=True)
        for moments in state.inner.moments.values():
            memory.mark(moments.values(), "moments")
        habits = habits_of(trainer.problem)
        habits.windows = habits.checked = IN_THE_MIDDLE
        if trainer.audit.every:
            state.inner = trainer.inner.make_state(
                trainer.inner_steps * (trainer.audit.every - 1), state.inner.moments
            )
        run.prm.register_forward_pre_hook(lambda *_: tally.next())
        run.prm.register_forward_hook(lambda *_: tally.next())
        start, before = tally.now, tally.work
        tally.begin()
        searched = config.hypergrad.settings.get("radius") is None
        with rehearsed_fallback(tally.memory_alone) if searched else nullcontext():
            for _ in trainer.run(state, inner_batches=iter(inner), outer_batches=iter([outer]), windows=1):
                pass
        tally.next()
        return Footprint(
            parameters=sum(one.numel() for one in run.prm.parameters()),
            trained=sum(one.numel() for one in state.params.values()),
            start=start,
            peaks=tuple(tally.peaks),
            put_away=tally.most_away,
            batches=_bytes(inner[0]) * len(inner) + _bytes(outer),
            work=tally.work.plus(before, -1.0),
        )


@contextmanager
def several(processes: int, rank: int = 0) -> Iterator[None]:
    """In the block, a group of this many processes of which none is there: what they say is not exchanged."""
    if processes == 1:
        yield
        return
    dist.init_process_group(dist.Backend.FAKE, rank=rank, world_size=processes, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def _bytes(batch: Any) -> int:
    if isinstance(batch, Tensor):
        return batch.numel() * batch.element_size()
    if isinstance(batch, Mapping):
        return sum(_bytes(one) for one in batch.values())
    return sum(map(_bytes, batch)) if isinstance(batch, list) else 0


def _silent(line: str) -> None:
    del line
