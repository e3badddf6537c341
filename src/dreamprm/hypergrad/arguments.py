"""The state and the memory of what a window is given: checked before its first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.sharding import Sharding

_TWICE = (
    "tied weights are given once, under one name, and used twice in the losses; of two variables that only "
    "start equal, give a clone()"
)


def check_state(optimizer: InnerOptimizer, state: OptimizerState, params: Mapping[str, Tensor]) -> None:
    """Refuse a state that is not one of these params.

    Raises:
        ValueError: naming the moment and the parameter.
    """
    wanted: dict[str, set[str]] = {}
    for name, p in params.items():
        for kind in optimizer.kinds_of(name, p):
            wanted.setdefault(kind, set()).add(name)
    held = {kind: moments for kind, moments in state.moments.items() if moments}
    if wanted.keys() != held.keys():
        raise ValueError(
            f"state has the moments {', '.join(held) or '(none)'}, but {type(optimizer).__name__} keeps "
            f"{', '.join(wanted) or 'none'}; make it by optimizer.init(params) of these params"
        )
    for kind, moments in held.items():
        label = f"state.{kind}" if hasattr(state, kind) else f"state.moments[{kind!r}]"
        wrong = sorted(set(moments) ^ wanted[kind])
        wrong += [name for name, p in params.items() if name in moments and moments[name].shape != p.shape]
        if wrong:
            raise ValueError(
                f"{label} does not match params at {', '.join(map(repr, wrong[:5]))} "
                f"({len(wrong)} in all); make it by optimizer.init(params) of these params"
            )
        for name, moment in moments.items():
            p = params[name]
            if (moment.dtype, moment.device) != (p.dtype, p.device):
                raise ValueError(
                    f"{label}[{name!r}] must have the dtype and device of its parameter, "
                    f"{p.dtype} on {p.device}, got {moment.dtype} on {moment.device}; convert it with the "
                    "params, or make it anew by optimizer.init(params)"
                )


def check_sharding(sharding: Sharding | None, optimizer: InnerOptimizer) -> None:
    """Refuse to step shards by an optimizer that looks at whole tensors.

    Raises:
        ValueError: naming it.
    """
    if sharding is not None and not optimizer.elementwise:
        raise ValueError(
            f"{type(optimizer).__name__} steps whole tensors, and these are shards of them: take AdamW, "
            "Adam, SGD or Lion, whose steps are entry by entry (an own optimizer says elementwise = "
            "True), or leave the params whole"
        )


class _Range(NamedTuple):
    """Where a tensor lies in memory."""

    device: str
    start: int
    end: int
    label: str
    tensor: Tensor


def check_memory(params: Mapping[str, Tensor], alpha: Mapping[str, Tensor], state: OptimizerState) -> None:
    """Refuse one tensor under two names: stepping or differentiating one would leave the other behind.

    Views of one storage that do not overlap are two tensors.

    Raises:
        ValueError: naming both.
    """
    labelled = [
        *((f"params[{name!r}]", tensor) for name, tensor in params.items()),
        *((f"alpha[{name!r}]", tensor) for name, tensor in alpha.items()),
        *(
            (f"the moment {kind} of {name!r} in state", tensor)
            for kind, moments in state.moments.items()
            for name, tensor in moments.items()
        ),
    ]
    for name, tensor in params.items():
        if any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True)):
            raise ValueError(
                f"params[{name!r}] holds one number at several places (it was made by expand()); give a "
                "clone() of it"
            )
    below: list[_Range] = []
    for one in sorted(_ranges(labelled), key=lambda one: one[:3]):
        below = [other for other in below if other.device == one.device and other.end > one.start]
        for other in below:
            if _overlap(other, one):
                raise ValueError(f"{other.label} and {one.label} share memory; {_TWICE}")
        below.append(one)


def _ranges(labelled: list[tuple[str, Tensor]]) -> Iterator[_Range]:
    seen: dict[int, str] = {}
    for label, tensor in labelled:
        if id(tensor) in seen:
            raise ValueError(f"{seen[id(tensor)]} and {label} are one tensor; {_TWICE}")
        seen[id(tensor)] = label
        start = 0 if tensor.numel() == 0 else _address(tensor)
        if start:
            last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
            yield _Range(str(tensor.device), start, start + (last + 1) * tensor.element_size(), label, tensor)


def _address(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except (NotImplementedError, RuntimeError):  # kinds of tensors without memory of their own
        return 0


def _overlap(a: _Range, b: _Range) -> bool:
    """Whether two tensors whose ranges overlap have an element in common."""
    if a.tensor.is_contiguous() and b.tensor.is_contiguous():
        return True
    base = min(a.start, b.start)
    return bool(torch.isin(_bytes(a, base), _bytes(b, base)).any())


def _bytes(one: _Range, base: int) -> Tensor:
    """The offsets of a tensor's elements from an address."""
    offsets = torch.tensor(one.start - base)
    for size, step in zip(one.tensor.shape, one.tensor.stride(), strict=True):
        offsets = offsets.unsqueeze(-1) + torch.arange(size) * (step * one.tensor.element_size())
    return offsets.flatten()
