"""Backward passes that autograd cannot follow: where differentiating a gradient would be silently wrong.

The backward pass of a `torch.autograd.Function` may be a kernel of its own, or use a derivative that was
saved as a constant. Gradients are right then; gradients of gradients lack what it depends on, without an
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from dreamprm.hypergrad.sharding import Together, total

# Relative size of the random step in params along which a backward pass is seen to change.
STEP = {torch.float64: 1e-5, torch.float32: 2e-3}
# Share by which its change and the derivative that autograd gives may differ: far above the difference's own
# error, far below what a missing term does to the function's own derivative.
TOLERANCE = 0.15
# Entries that change by more than this share have crossed a kink, and no derivative is to be had there.
KINK = 0.3


def functions_in(value: Tensor, *, above: Iterable[Tensor] = ()) -> list[Any]:
    """The nodes of functions written in Python in the graph of a value, in a fixed order.

    Not those that the tensors `above` came from: params have been through earlier steps in `unrolled`.
    """
    found: list[Any] = []
    stack: list[Any] = [value.grad_fn]
    seen = {None, value.grad_fn, *(tensor.grad_fn for tensor in above)}
    while stack:
        node = stack.pop()
        if isinstance(node, BackwardCFunction):
            found.append(node)
        for following, _ in node.next_functions:
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return found


def check_backwards(
    known: set[type],
    loss: Callable[..., Tensor],
    arguments: tuple[Any, ...],
    value: Tensor,
    again: Callable[[], AbstractContextManager[None]],
    *,
    together: Together | None = None,
) -> None:
    """Refuse a loss whose gradient autograd does not differentiate right.

    Each function's backward pass is called at the params and at two points beside them, with the same random
    cotangents: how it changes must be what autograd says. Costs two evaluations of the loss and a backward
    pass for each class of functions not yet in `known`, to which those that pass are added.

    Args:
        known: classes that have passed.
        loss, arguments, value: an evaluation with its graph; the first argument are the params, leaves.
        again: a context in which the loss gives the same value again.
        together: the processes that evaluate the loss, as in `BilevelProblem`; all come to one verdict.

    Raises:
        NotImplementedError: naming the functions.
    """
    if value.grad_fn is None:
        return
    params: Mapping[str, Tensor] = arguments[0]
    within = functions_in(value, above=params.values())
    found = [node for node in within if _class(node) not in known]
    kinds = list(dict.fromkeys(map(_class, found)))
    names = ", ".join(kind.__name__ for kind in kinds)
    if together is not None and not together.alike(names):
        raise NotImplementedError(
            "the gradient of a gradient is asked for, and the processes' shares of a batch go through "
            f"different functions written in Python (autograd.Function; here: {names or 'none'}), whose "
            "backward passes cannot be checked together. Take differences, which need first derivatives "
            "alone (central_difference; adjoint with it in place of unrolled), one process, or batches of "
            "which every process gets the same kinds of records (each with an image, or none)"
        )
    if not found:
        return
    generator = torch.Generator().manual_seed(0)
    step = {name: _step(p, generator) for name, p in params.items()}

    def nodes_at(sign: float) -> tuple[Tensor, list[Any]]:
        moved = {name: (p.detach() + sign * step[name]).requires_grad_() for name, p in params.items()}
        with again():
            evaluated = loss(moved, *arguments[1:])
        return evaluated, [node for node in functions_in(evaluated) if _class(node) not in known]

    (above, ahead), (below, behind) = nodes_at(1.0), nodes_at(-1.0)
    del above, below
    comparable = [_class(n) for n in ahead] == [_class(n) for n in behind] == [_class(n) for n in found]
    for kind in kinds:
        alike = [nodes for nodes in zip(found, ahead, behind, strict=False) if _class(nodes[0]) is kind]
        change = _Change()
        reason = (
            change.see(alike, generator)
            if comparable
            else "it is not called the same number of times at neighbouring params, so its backward pass "
            "could not be checked"
        )
        if together is not None and not together.alike((reason, change.judged is None)):
            reason = reason or "so another process says of its share of the batch"
        elif not reason and change.judged is not None:
            reason = change.problem(change.judged, params, step, together)
        if reason:
            raise NotImplementedError(
                f"the gradient of a gradient is asked for, and the backward pass of {kind.__name__} (an "
                f"autograd.Function of the model) has none that autograd can follow: {reason}. Take "
                "differences, which need first derivatives alone (central_difference; adjoint with it in "
                "place of unrolled), replace the function by one of plain operations, or write its backward "
                "pass with differentiable operations on saved inputs"
            )
        known.add(kind)


def _class(node: Any) -> type:
    return getattr(node, "_forward_cls", type(node))


def _step(param: Tensor, generator: torch.Generator) -> Tensor:
    size = float(param.detach().norm()) / max(1, param.numel()) ** 0.5
    drawn = torch.randn(param.shape, generator=generator, dtype=torch.float64).to(param)
    return drawn * (STEP.get(param.dtype, 3e-2) * (size or 1.0))


@dataclass
class _Change:
    """How the backward passes of one class of functions change between two neighbouring points.

    Attributes:
        judged: a number whose derivative autograd gives; None before anything was seen.
        seen: by how much it changes.
        noise: the variance of its rounding.
    """

    judged: Tensor | None = None
    seen: float = 0.0
    noise: float = 0.0

    def see(self, alike: Iterable[tuple[Any, Any, Any]], generator: torch.Generator) -> str:
        """Call the functions; returns what is wrong with them already, "" if nothing is."""
        for here, ahead, behind in alike:
            cotangents = [_like(one, generator) for one in here._input_metadata]
            given = [None if one is None else one.clone().requires_grad_() for one in cotangents]
            try:
                with torch.enable_grad():
                    outputs = _tuple(here.apply(*given))
                with torch.no_grad():
                    pairs = zip(
                        _tuple(ahead.apply(*cotangents)), _tuple(behind.apply(*cotangents)), strict=True
                    )
                    ends = list(pairs)
            except Exception as error:  # whatever a function of somebody else's raises
                return f"called again, it raises {type(error).__name__}: {error}"
            for out, (right, left) in zip(outputs, ends, strict=True):
                if out is None or not out.is_floating_point():
                    continue
                if not out.requires_grad:
                    return "its results carry no graph, as those of a kernel do"
                smooth = (right - left).abs() <= KINK * (right.abs() + left.abs())
                weights = _random(out, generator) * smooth
                part = (weights * out).sum()
                self.judged = part if self.judged is None else self.judged + part
                self.seen += float((weights * (right - left)).double().sum()) / 2
                size = float((weights * out.detach()).double().norm())
                self.noise += (4 * torch.finfo(out.dtype).eps * size) ** 2
        return ""

    def problem(
        self,
        judged: Tensor,
        params: Mapping[str, Tensor],
        step: Mapping[str, Tensor],
        together: Together | None,
    ) -> str:
        """What is wrong with the derivative that autograd gives; "" if nothing was seen."""
        try:
            grads = torch.autograd.grad(judged, list(params.values()), retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            return str(error)
        # Of what all processes judged: the way back to the params adds it up.
        parts = [
            float((grad * step[name]).double().sum())
            for name, grad in zip(params, grads, strict=True)
            if grad is not None
        ]
        said = total(_double(judged, sum(parts)))
        seen = _double(judged, self.seen, self.noise)
        seen = total(seen) if together is None else together.summed(seen)
        derivative, change, noise = *said.tolist(), *seen.tolist()
        if abs(derivative - change) <= TOLERANCE * max(abs(derivative), abs(change)) + noise**0.5:
            return ""
        return (
            f"between two neighbouring points it changes by {change:.3g} where autograd says "
            f"{derivative:.3g}, as if something it saved were constant"
        )


def _double(like: Tensor, *values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)


def _like(described: Any, generator: torch.Generator) -> Tensor:
    shape, dtype, device = described.shape, described.dtype, described.device
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(device, dtype)


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
