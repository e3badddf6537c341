"""Parameters divided among the processes of a run: each holds, steps and differentiates its share of them.

With R processes, a tensor's entries are cut in R equal runs, the last ones filled up with zeros, and process
r holds the r-th. Whole tensors exist within a pass of the model alone:

    phi = gather(shards)             and on the way back    dL/dshard = scatter(sum over processes of dL/dphi)

each of which is the other's derivative. All that an optimizer and an estimator do between passes is entry by
entry, but for sums over entries, which `dreamprm.hypergrad` asks for through `summed` and `copied`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dreamprm.training.processes import Processes, buckets, collective

# Their names before torch 2.13, which warns of these.
_gather: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_scatter: Callable[..., Any] = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@dataclass(frozen=True)
class Shards:
    """How the parameters of a run are divided; the `Sharding` of its problem.

    Args:
        processes: those that hold a shard of every tensor.
        shapes: of the whole tensors by name.
    """

    processes: Processes
    shapes: Mapping[str, torch.Size]

    @classmethod
    def of(cls, params: Mapping[str, Tensor], processes: Processes) -> Shards:
        """Those of these whole parameters."""
        return cls(processes, {name: tensor.shape for name, tensor in params.items()})

    @property
    def first(self) -> bool:
        """Whether this process counts what all of them have."""
        return self.processes.first

    def summed(self, value: Tensor) -> Tensor:
        """The sum of the processes' values; together."""
        return self.processes.summed(value)

    def copied(self, value: Tensor) -> Tensor:
        """The value, whose derivative is the sum of the processes'; the pass back is together."""
        return self.processes.copied({"": value})[""]

    def own(self, name: str, whole: Tensor) -> Tensor:
        """`(ceil(numel / R),)` this process's shard of a whole tensor, a copy."""
        rank, size = self.processes.share.rank, _shard_size(self.shapes[name], self.processes.share.count)
        part = whole.detach().reshape(-1)[rank * size : (rank + 1) * size]
        shard = whole.new_zeros(size)
        shard[: part.numel()] = part
        return shard

    def whole(self, shards: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole tensors, for a pass of the model on this process's rows; together, and so is each pass
        back. One node of the graph, for the reason that `Processes.copied` has."""
        names = list(shards)
        layout = _Layout(self.processes.share.count, tuple(self.shapes[name] for name in names))
        return dict(zip(names, _Gathered.apply(layout, *shards.values()), strict=True))

    @torch.no_grad()
    def collected(self, shards: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole tensors in the first process, in CPU memory; nothing in the others; together.

        One tensor at a time: no process holds two of them on its device.
        """
        found = {}
        for name, shard in shards.items():
            (whole,) = _gathered(_Layout(self.processes.share.count, (self.shapes[name],)), (shard.detach(),))
            if self.first:
                found[name] = whole.cpu()
        return found

    def empty(self, module: nn.Module) -> None:
        """Free the module's own copies of the parameters; it runs by `functional_call` on whole ones."""
        for name, parameter in module.named_parameters():
            if name in self.shapes:
                parameter.data = parameter.new_empty(0)

    def fill(self, module: nn.Module, whole: Mapping[str, Tensor]) -> None:
        """Give the module its parameters back."""
        for name, parameter in module.named_parameters():
            if name in self.shapes:
                parameter.data = whole[name]


def _shard_size(shape: torch.Size, count: int) -> int:
    return max(1, math.ceil(math.prod(shape) / count))


@dataclass(frozen=True)
class _Layout:
    """Whole tensors, and among how many processes they are divided."""

    count: int
    shapes: tuple[torch.Size, ...]

    @property
    def sizes(self) -> list[int]:
        """Entries of a shard of each."""
        return [_shard_size(shape, self.count) for shape in self.shapes]

    def buckets(self, tensors: Sequence[Tensor]) -> Iterator[list[int]]:
        """Which of these shards, or whole tensors, are exchanged at once."""
        return buckets(tensors, [size * self.count for size in self.sizes])


@torch.no_grad()
def _gathered(layout: _Layout, shards: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Whole tensors from all processes' shards."""
    found: list[Tensor] = []
    for bucket in layout.buckets(shards):
        own = torch.cat([shards[i].reshape(-1) for i in bucket])
        everyones = own.new_empty(layout.count * own.numel())
        collective(_gather, everyones, own)
        del own
        pieces = everyones.view(layout.count, -1).split([layout.sizes[i] for i in bucket], 1)
        for i, piece in zip(bucket, pieces, strict=True):
            shape = layout.shapes[i]
            # Of several, reshape copies each; of a single one it is `everyones`, which nothing else keeps.
            found.append(piece.reshape(-1)[: math.prod(shape)].view(shape))
    return tuple(found)


@torch.no_grad()
def _scattered(layout: _Layout, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """This process's shards of the sums of all processes' whole tensors."""
    found: list[Tensor] = []
    for bucket in layout.buckets(tensors):
        sizes = [layout.sizes[i] for i in bucket]
        whole = tensors[bucket[0]].new_zeros(layout.count, sum(sizes))
        for i, place in zip(bucket, whole.split(sizes, 1), strict=True):
            flat = tensors[i].reshape(-1)
            full = flat.numel() // place.shape[1]  # processes whose shards hold no zeros
            place[:full] = flat[: full * place.shape[1]].view(full, -1)
            rest = flat[full * place.shape[1] :]
            if rest.numel():
                place[full, : rest.numel()] = rest
        own = whole.new_empty(sum(sizes))
        collective(_scatter, own, whole.view(-1))
        del whole, place
        found += [own] if len(sizes) == 1 else [shard.clone() for shard in own.split(sizes)]
    return tuple(found)


class _Gathered(torch.autograd.Function):
    """Forward: whole tensors from all shards. Backward: the shards of the sums of the gradients."""

    @staticmethod
    def forward(ctx: Any, layout: _Layout, *shards: Tensor) -> tuple[Tensor, ...]:
        ctx.layout = layout
        return _gathered(layout, shards)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *_Scattered.apply(ctx.layout, *grads))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor) -> tuple[Tensor, ...]:
        return _Gathered.apply(ctx.layout, *tangents)


class _Scattered(torch.autograd.Function):
    """Forward: the shards of the sums of whole tensors. Backward: whole tensors from all shards."""

    @staticmethod
    def forward(ctx: Any, layout: _Layout, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.layout = layout
        return _scattered(layout, tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *_Gathered.apply(ctx.layout, *grads))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor) -> tuple[Tensor, ...]:
        return _Scattered.apply(ctx.layout, *tangents)
