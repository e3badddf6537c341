"""The states a window went through, given back from last to first: kept, or recomputed bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.offload import Kept, Store

CHECKPOINTS = ("recompute", "keep")


class Point(NamedTuple):
    """Params and the optimizer's state before one step."""

    params: dict[str, Tensor]
    state: OptimizerState


class KeptPoint(NamedTuple):
    """A `Point` that was put away."""

    params: Kept
    moments: dict[str, Kept]
    step: int

    def load(self, optimizer: InnerOptimizer) -> Point:
        """Read it back."""
        moments = {kind: kept.load() for kind, kept in self.moments.items()}
        return Point(self.params.load(), optimizer.make_state(self.step, moments))

    def drop(self) -> None:
        """It is not read again."""
        for part in (self.params, *self.moments.values()):
            part.drop()


class Trajectory:
    """Steps forward through a window and back through its states.

    `checkpoint="keep"` puts every state away. `checkpoint="recompute"` only the first one: as a step
    needs nothing but the gradients, the states are recomputed bit for bit by
    replaying the steps from there. Going back by halves (the state at the middle, then the right half, then
    the left one) takes about (T/2) log2 T steps and log2 T states at a time, where going from the start each
    time takes T^2/2 steps and sqrt(T) checkpoints hold more states for T <= 20.
    """

    def __init__(self, optimizer: InnerOptimizer, store: Store, *, checkpoint: str) -> None:
        self._optimizer, self._store, self._checkpoint = optimizer, store, checkpoint
        self._points: list[KeptPoint] = []
        self._length = 0

    def step(self, at: Point, grads: Mapping[str, Tensor], *, owned: bool) -> Point:
        """Take one step. `owned`: the tensors at this point may be overwritten."""
        free = owned
        if self._checkpoint == "keep" or self._length == 0:
            # what is not ours is not overwritten by anybody: no copy needed
            self._points.append(_keep(at, self._store if owned else Store()))
            free = owned and self._store.copies(at.params)
        self._length += 1
        return Point(*self._optimizer.step(at.params, grads, state=at.state, inplace=free))

    def backwards(self, gradient: Callable[[int], Mapping[str, Tensor]]) -> Iterator[Point]:
        """The points before each step, last first; `gradient(t)` gives g_t. Their tensors are read only."""
        if self._checkpoint == "keep":
            while self._points:
                point = self._points.pop()
                yield point.load(self._optimizer)
                point.drop()
        else:
            yield from self._halves(0, self._length, self._points[0], gradient)

    def _halves(
        self, first: int, end: int, point: KeptPoint, gradient: Callable[[int], Mapping[str, Tensor]]
    ) -> Iterator[Point]:
        if end - first == 1:
            yield point.load(self._optimizer)
            return
        middle, at = (first + end) // 2, point.load(self._optimizer)
        for t in range(first, middle):
            owned = t > first
            at = Point(*self._optimizer.step(at.params, gradient(t), state=at.state, inplace=owned))
        kept = _keep(at, self._store)
        del at
        yield from self._halves(middle, end, kept, gradient)
        kept.drop()
        yield from self._halves(first, middle, point, gradient)


def _keep(at: Point, store: Store) -> KeptPoint:
    moments = {kind: store.keep(tensors) for kind, tensors in at.state.moments.items()}
    return KeptPoint(store.keep(at.params), moments, at.state.step)
