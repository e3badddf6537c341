"""One run trained by several processes, each with its share of every batch, as one process would train it.

Every process holds all parameters and everything above the step logits: labels, losses, weights, the upper
level. Only the model's passes are divided. With z_r the logits of process r's rows, J_r their derivative in
phi, and L any loss of all logits,

    z = sum_r scatter(z_r)                       `gathered`
    dL/dphi = sum_r J_r^T (dL/dz)_r              `copied`

a sum over processes with the coefficients of the whole batch. (The mean of the processes' own losses is
another loss as soon as they hold unequal numbers of labels or domains.) The two operators are each other's
derivative, so that gradients of gradients and tangents are divided as well, and an estimator need not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from torch import Tensor

from dreamprm.config.errors import DataError, UserError
from dreamprm.models.shares import Share
from dreamprm.runtime.process import launched_processes
from dreamprm.training.settings import TrainConfig

BUCKET = 1 << 24  # entries that are summed at once: few collectives, and no piece as large as the model
# The first process reads and checks new data while the others wait; the launcher ends all if one has ended.
PATIENCE = timedelta(hours=6)


class LostProcess(UserError):
    """Another process of the run cannot be reached; if it has ended, it says why itself."""


class UnreadElsewhere(DataError):
    """Another process could not read its share of a batch, and says why itself."""


@dataclass(frozen=True)
class Processes:
    """The processes that train a run together, seen from one of them.

    All of them call each method that is marked "together", in the same order.

    Args:
        share: this process's number, and how many there are.
        device: of its parameters.
        leads: whether it is the first one on its machine.
    """

    share: Share = Share()
    device: torch.device = torch.device("cpu")
    leads: bool = True

    @classmethod
    def of(cls, accelerator: Accelerator) -> Processes:
        """Those that the accelerator found."""
        device = accelerator.device
        if device.type == "cpu":
            device = torch.device("cpu")  # not "cpu:0", which compares as another one
        share = Share(accelerator.process_index, accelerator.num_processes)
        return cls(share, device, accelerator.is_local_main_process)

    @property
    def several(self) -> bool:
        """Whether there are more than this one."""
        return self.share.count > 1

    @property
    def first(self) -> bool:
        """Whether this one writes to the run's folder and speaks to the user."""
        return self.share.rank == 0

    def say(self, line: str) -> None:
        """Print a line, once for all processes."""
        if self.first:
            print(line, flush=True)

    def copied(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The params, for this process's share of a batch; together, and so is each pass back.

        One node of the graph for all of them: with one for each, a process whose rows do not reach some (the
        vision tower, if none has an image) would leave out their sums, and the others would wait for ever.
        """
        names, tensors = list(params), list(params.values())
        return dict(zip(names, _Copied.apply(*tensors), strict=True))

    def summed(self, value: Tensor) -> Tensor:
        """The sum of the processes' values, of one shape; together, and so is each pass forward in its
        derivatives."""
        (total,) = _Summed.apply(value)
        return total

    def gathered(self, own: Tensor, at: Tensor, size: int) -> Tensor:
        """`(size,)` logits of the whole batch, from this process's own and their positions; together."""
        return self.summed(own.new_zeros(size).index_copy(0, at, own))

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers; together."""
        if not self.several:
            return number
        value = torch.tensor([number], device=self.device)
        collective(dist.all_reduce, value, dist.ReduceOp.MAX)
        return int(value)

    def added(self, *numbers: int) -> list[int]:
        """The sums of the processes' numbers; together."""
        if not self.several:
            return list(numbers)
        values = torch.tensor(numbers, device=self.device)
        collective(dist.all_reduce, values)
        return [int(value) for value in values.tolist()]

    def all_of(self, content: Any) -> list[Any]:
        """What each process gives, in their order: small values that can be pickled; together."""
        if not self.several:
            return [content]
        found: list[Any] = [None] * self.share.count
        collective(dist.all_gather_object, found, content)
        return found

    def alike(self, content: Any) -> bool:
        """Whether all processes give an equal value; together."""
        first, *others = self.all_of(content)
        return all(one == first for one in others)

    def wait(self) -> None:
        """Wait until all processes are here; together."""
        self.largest(0)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The block in one process of each machine, then in the others, which find its caches; together."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def agreed(self, source: Iterator[Any]) -> Iterator[Any]:
        """The same items; if one process cannot have its next one, all stop there, in the same state.

        Raises:
            UserError: the source's own; `UnreadElsewhere` in the other processes.
        """
        while True:
            item, failure = None, None
            try:
                item = next(source)
            except StopIteration:
                return
            except UserError as error:
                failure = error
            failed = self.largest(0 if failure is None else 1)
            if failure is not None:
                raise failure
            if failed:
                raise UnreadElsewhere("another process could not read its share of a batch")
            yield item


ALONE = Processes()
"""One process, which has every row."""


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The device and the precision of the run; joins the processes that a launcher has started.

    Raises:
        UserError: the processes cannot be joined.
    """
    count = launched_processes().count
    # Otherwise a launcher without an accelerator would leave each process to itself.
    cpu = count > 1 and not torch.accelerator.is_available()
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)] if count > 1 else None,
        log_with=config.log.trackers or None,
        project_config=ProjectConfiguration(logging_dir=str(Path(config.output) / "trackers")),
    )
    if accelerator.num_processes != count:
        raise UserError(
            f"{count} processes were launched, but {accelerator.num_processes} found each other; start them "
            "by torchrun or accelerate launch, or start `dreamprm train` without a launcher"
        )
    if count > 1 and not cpu:
        # All processes compute the losses from the same logits and branch on them: to the bit, or they part.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return accelerator


def leave() -> None:
    """Part from the other processes at the end of a run."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def collective(call: Callable[..., Any], *arguments: Any) -> None:
    """Call a collective operation of torch.distributed.

    Raises:
        LostProcess: another process cannot be reached.
    """
    try:
        call(*arguments)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # what torch raises if the connection to a process is lost, among others
        reason = str(error).strip().split("\n")[0]
        raise LostProcess(
            f"the processes of the run cannot reach each other ({reason}); if one of them has ended, its own "
            "message says why. The same command continues from the last checkpoint"
        ) from error


@torch.no_grad()
def _sums(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The sums over processes: as few collectives as buckets."""
    sums: list[Tensor] = []
    for bucket in buckets(tensors, [tensor.numel() for tensor in tensors]):
        flat = torch.cat([tensors[i].reshape(-1) for i in bucket])
        collective(dist.all_reduce, flat)
        parts = flat.split([tensors[i].numel() for i in bucket])
        sums += [part.view(tensors[i].shape) for i, part in zip(bucket, parts, strict=True)]
    return tuple(sums)


def buckets(tensors: Sequence[Tensor], sizes: Sequence[int]) -> Iterator[list[int]]:
    """What is exchanged at once: indices of neighbours of one dtype, of `BUCKET` entries at most together, or
    of one tensor that has more.

    Args:
        sizes: the entries that are exchanged of each tensor.
    """
    bucket: list[int] = []
    held = 0
    for i, size in enumerate(sizes):
        if bucket and (held + size > BUCKET or tensors[i].dtype != tensors[bucket[0]].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(i)
        held += size
    if bucket:
        yield bucket


class _Copied(torch.autograd.Function):
    """Forward: the same tensors. Backward: the sums of the gradients over processes."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return _Summed.apply(*grads)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return tuple(tangent.view_as(tangent) for tangent in tangents)


class _Summed(torch.autograd.Function):
    """Forward: the sums of the tensors over processes. Backward: the same gradients."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return _sums(tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return _Copied.apply(*grads)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, ...]:
        del ctx
        return _Summed.apply(*tangents)
