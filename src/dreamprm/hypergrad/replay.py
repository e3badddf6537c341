"""Re-evaluations of a loss within one window see what its first evaluation saw: random numbers and buffers.

A window evaluates each loss once as plain training does, and most estimators evaluate it again, elsewhere or
with another graph. Dropout must not be drawn anew then, and BatchNorm's statistics must not move again. So
each first evaluation leaves its start here (random states, and the tensors that it was seen to change in
place), and every later one starts from there and puts back what it found.
"""

from __future__ import annotations

import pickle
import random
import sys
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dreamprm.hypergrad.micro_batches import Part
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.watched_changes import Changed, Watch, check_recomputation, storage_of


class Numbered(NamedTuple):
    """A batch with its place in the window, which tells a re-evaluation from a first one."""

    place: Hashable
    batch: Any


@dataclass
class Habits:
    """What the losses of one problem were seen to do besides returning a value, over all its windows."""

    windows: int = 0
    checked: int = 0
    """Windows in which backward passes had to be differentiable; 0 again where one was not."""
    changed: list[Changed] = field(default_factory=list)
    generators: list[torch.Generator] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    """Of "python" and "numpy", those whose global random numbers they draw."""
    differentiable: set[type] = field(default_factory=set)
    """Classes of autograd functions whose backward pass was seen to have a derivative."""
    undo: list[Callable[[], object]] | None = None
    """Puts newly seen changes back; None: nobody wants to."""

    def watched(self) -> bool:
        """Count one more window; whether its evaluations are watched.

        Those of windows 1, 2, 4, 8, ... are: it costs some microseconds an operation.
        """
        self.windows += 1
        return _power_of_two(self.windows)

    def check_due(self) -> bool:
        """The same, of the windows in which backward passes have to be differentiable."""
        self.checked += 1
        return _power_of_two(self.checked)


def _power_of_two(count: int) -> bool:
    return count & (count - 1) == 0


_HABITS: weakref.WeakKeyDictionary[BilevelProblem, Habits] = weakref.WeakKeyDictionary()


def habits_of(problem: BilevelProblem) -> Habits:
    """What is known of this problem's losses; kept as long as the problem."""
    return _HABITS.setdefault(problem, Habits())


class Surroundings(NamedTuple):
    """What an evaluation starts from besides its arguments: random states and tensors that it changes."""

    random: dict[Hashable, Any]
    tensors: list[tuple[Changed, Tensor]]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Start from there once more, and leave everything as it was found."""
        found = Surroundings(
            {place: _random_state(place) for place in self.random},
            [(one, one.tensor.detach().clone()) for one, _ in self.tensors],
        )
        self.restore()
        try:
            yield
        finally:
            found.restore()

    def restore(self) -> None:
        """Put all of it back."""
        for place, state in self.random.items():
            _set_random_state(place, state)
        for one, value in self.tensors:
            one.write(value)


Check = Callable[
    [str, Callable[..., Tensor], tuple[Any, ...], Tensor, Callable[[], AbstractContextManager[None]]], None
]
"""(name, loss, arguments, value, again): an evaluation of a loss, which `again` makes repeatable."""


class Replay:
    """The evaluations of one window.

    Args:
        habits: of the problem, from `habits_of`; extended here.
        fixed: params and alpha by name, which no loss may change.
        check: looks at the first evaluation of each loss with a graph.
    """

    def __init__(
        self,
        habits: Habits,
        *,
        fixed: Mapping[str, Tensor],
        check: Check | None = None,
    ) -> None:
        self._habits, self._watched, self._check = habits, habits.watched(), check
        self._fixed = {storage: name for name, one in fixed.items() if (storage := storage_of(one))}
        devices = {tensor.device for tensor in fixed.values()}
        self._devices = sorted((d for d in devices if d.type not in ("cpu", "meta")), key=str)
        self._starts: dict[tuple[str, Hashable], Surroundings] = {}
        self._checked: set[tuple[str, Hashable]] = set()

    def problem(self, problem: BilevelProblem) -> BilevelProblem:
        """The problem on `Numbered` batches, its losses evaluated through this replay."""
        split = _numbered_parts(problem.parts) if problem.splits else None
        split_outer = _numbered_parts(problem.outer_parts) if problem.splits_outer else None
        together: dict[str, Any] = {"sharding": problem.sharding, "together": problem.together}
        outer = self._through("outer_loss", problem.outer_loss, at=2)
        if not problem.structured:
            inner = self._through("inner_loss", problem.inner_loss, at=2)
            return BilevelProblem(inner, outer, split=split, split_outer=split_outer, **together)
        rest = self._through("unweighted_loss", problem.unweighted_loss, at=1)
        return BilevelProblem(
            outer_loss=outer,
            inner_losses=self._through("inner_losses", problem.inner_losses, at=1),
            weights=self._through("weights", problem.weights, at=1),
            unweighted_loss=rest if problem.has_unweighted_loss else None,
            split=split,
            split_outer=split_outer,
            **together,
        )

    def _through(self, name: str, loss: Callable[..., Tensor], *, at: int) -> Callable[..., Tensor]:
        """The loss with its batch, argument number `at`, numbered."""

        def evaluate(*arguments: Any) -> Tensor:
            place, batch = arguments[at]
            given = (*arguments[:at], batch, *arguments[at + 1 :])
            start = self._starts.get((name, place))
            if start is None:
                value, start = self._first(name, loss, given)
                self._starts[name, place] = start
            elif start.random or start.tensors:
                with start.again():
                    value = loss(*given)
            else:
                value = loss(*given)
            if self._unchecked(name, place, value):
                assert self._check is not None
                self._check(name, loss, given, value, start.again)
            return value

        return evaluate

    def _unchecked(self, name: str, place: Hashable, value: Tensor) -> bool:
        """Whether this is the first evaluation with a graph, and is to be checked."""
        if self._check is None or value.grad_fn is None:
            return False
        new = (name, place) not in self._checked
        self._checked.add((name, place))
        return new

    def _first(
        self, name: str, loss: Callable[..., Tensor], given: tuple[Any, ...]
    ) -> tuple[Tensor, Surroundings]:
        habits = self._habits
        before = {place: _random_state(place) for place in self._places()}
        known = [(one, one.tensor.detach().clone()) for one in habits.changed]
        if not self._watched:
            value = loss(*given)
        else:
            watch = Watch(name, self._fixed, {storage_of(one.tensor) for one, _ in known})
            # what compiled code does inside is not seen: such losses are watched uncompiled, then evaluated
            compiled = _compiling()
            with watch, torch.compiler.set_stance("force_eager") if compiled else nullcontext():
                value = loss(*given)
            if watch.recomputes:
                check_recomputation(name, value, given[0].values(), watch.read)
            for generator, state in watch.generators.items():
                if generator not in habits.generators:
                    habits.generators.append(generator)
                    before[generator] = state
                    if habits.undo is not None:
                        habits.undo.append(partial(generator.set_state, state))
            for one, earlier in watch.changed:
                habits.changed.append(one)
                known.append((one, earlier))
                # nothing had changed it before: so had the earlier evaluations seen it
                for start in self._starts.values():
                    start.tensors.append((one, earlier))
                if habits.undo is not None:
                    habits.undo.append(partial(one.write, earlier))
        drawn = {place: state for place, state in before.items() if not _same(state, _random_state(place))}
        habits.others |= {place for place in ("python", "numpy") if place in drawn}
        start = Surroundings(drawn, known)
        if self._watched and compiled:
            del value
            start.restore()
            value = loss(*given)
        return value, start

    def _places(self) -> list[Hashable]:
        """Where random numbers may come from."""
        others = ("python", "numpy") if self._watched else sorted(self._habits.others)
        # nobody draws from a numpy that is not loaded
        loaded = [place for place in others if place == "python" or "numpy" in sys.modules]
        return ["cpu", *self._devices, *self._habits.generators, *loaded]


def _compiling() -> bool:
    """Whether anything in this process was given to torch.compile."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(frames, "cached_backends", {"unknown": True})
    return frames is not None and any(backend is not None for backend in backends.values())


def _numbered_parts(parts: Callable[[Any], list[Part]]) -> Callable[[Numbered], list[Part]]:
    def split(batch: Numbered) -> list[Part]:
        return [
            part._replace(batch=Numbered((batch.place, at), part.batch))
            for at, part in enumerate(parts(batch.batch))
        ]

    return split


def surroundings(problem: BilevelProblem, devices: Iterable[torch.device]) -> Surroundings:
    """The random states, and all tensors that the losses were seen to change in place, as they are now."""
    return Surroundings(
        {place: _random_state(place) for place in _all_places(problem, devices)},
        [(one, one.tensor.detach().clone()) for one in habits_of(problem).changed],
    )


def _all_places(problem: BilevelProblem, devices: Iterable[torch.device]) -> list[Hashable]:
    accelerators = sorted({d for d in devices if d.type not in ("cpu", "meta")}, key=str)
    numpy = ["numpy"] if "numpy" in sys.modules else []
    return ["cpu", *accelerators, *habits_of(problem).generators, "python", *numpy]


def pack_surroundings(found: Surroundings) -> dict[str, list[Tensor]]:
    """As tensors, to be saved."""
    random = [
        state
        if isinstance(state, Tensor)
        else torch.frombuffer(bytearray(pickle.dumps(state)), dtype=torch.uint8)
        for state in found.random.values()
    ]
    return {"random": random, "tensors": [value for _, value in found.tensors]}


def unpack_surroundings(
    problem: BilevelProblem, devices: Iterable[torch.device], packed: Mapping[str, list[Tensor]]
) -> Surroundings:
    """What `pack_surroundings` packed, for a process in which the problem's losses were evaluated before."""
    places, changed = _all_places(problem, devices), habits_of(problem).changed
    if len(places) != len(packed["random"]) or len(changed) != len(packed["tensors"]):
        raise ValueError(
            f"the files hold {len(packed['random'])} random states and {len(packed['tensors'])} buffers, the "
            f"problem has {len(places)} and {len(changed)}: they are of another problem; use another folder"
        )
    random = {
        place: pickle.loads(bytes(state.tolist())) if place in ("python", "numpy") else state
        for place, state in zip(places, packed["random"])
    }
    return Surroundings(random, list(zip(changed, packed["tensors"])))


@contextmanager
def undisturbed(problem: BilevelProblem, devices: Iterable[torch.device]) -> Iterator[None]:
    """Leave the random states, and all tensors that the losses change in place, as they were found."""
    habits = habits_of(problem)
    found = surroundings(problem, devices)
    outer, habits.undo = habits.undo, []
    try:
        yield
    finally:
        for undo in reversed(habits.undo):
            undo()
        habits.undo = outer
        found.restore()


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else pickle.dumps(a) == pickle.dumps(b)


def _random_state(place: Any) -> Any:
    if isinstance(place, torch.Generator):
        return place.get_state()
    if isinstance(place, torch.device):
        return torch.get_device_module(place).get_rng_state(place)
    if place == "python":
        return random.getstate()
    if place == "numpy":
        return sys.modules["numpy"].random.get_state(legacy=False)
    return torch.get_rng_state()


def _set_random_state(place: Any, state: Any) -> None:
    if isinstance(place, torch.Generator):
        place.set_state(state)
    elif isinstance(place, torch.device):
        torch.get_device_module(place).set_rng_state(state, place)
    elif place == "python":
        random.setstate(state)
    elif place == "numpy":
        sys.modules["numpy"].random.set_state(state)
    else:
        torch.set_rng_state(state)
