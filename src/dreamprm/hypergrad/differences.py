"""Differences of any scale: how far to move, how wrong the result is, and where to move instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Status, WindowResult
from dreamprm.hypergrad.sharding import entry_counts, global_norm, params_norm, total_norms, totals

# By how much a difference moves the inner loss, in units of it: a power of the dtype's rounding, which
# balances truncation and rounding, times a factor.
CENTRAL, ONE_SIDED = (1 / 4, 1 / 3), (1.0, 1 / 2)
# Norm of the perturbation where nothing says how fast the loss moves, and no radius was given.
CENTRAL_RADIUS = {torch.float64: 1e-4, torch.float32: 1e-2}
ONE_SIDED_RADIUS = {torch.float64: 1e-7, torch.float32: 2e-3}
# Relative error of one difference above which more is done for it, and of a whole gradient in alpha above
# which its window is `imprecise`. One-sided differences, chosen for their cost, are off by a per cent or so
# by nature, and their estimate is a cautious one.
REFINE, IMPRECISE = 1e-2, 3e-2
REFINE_ONE_SIDED = 4e-2
# Other radii that are tried at most.
MOST_TRIES = 3
# Relative change of a gradient in alpha above which it is evaluated at phi too, to see how it curves.
COARSE = 0.1
# Movement of a tensor, in units of its norm, above which slopes that nothing checks are not trusted.
FAR = 0.3
# Share of a slope below which a tensor does not matter.
NEGLIGIBLE = 1e-3
# Rounding of a loss (or a gradient) that went through a model, in units of its dtype's.
LEAST_ROUNDING, MOST_ROUNDING = 1.0, 10.0
# (f(h) - 2 f(0) + f(-h)) of pure rounding has this many times the deviation of one value.
SECOND_ROUNDING = math.sqrt(6.0)
# A central difference is off by f''' h^2 / 6; with f''' = f''^2 / f' that is this share of its gauge squared.
TRUNCATION = 2 / 3


@dataclass(frozen=True)
class Scale:
    """How fast a loss moves along a direction, from gradients already computed."""

    loss: float
    """|L|."""
    slope: float
    """<direction, grad L>."""
    spread: float
    """|direction * grad L|: what the slope of entries with random signs comes to."""
    exact: bool = True
    """Whether L is the very loss that is differenced, at the same point: its slope then checks theirs."""
    spreads: tuple[float, ...] = ()
    """`spread` tensor by tensor."""
    lengths: Mapping[str, float] = field(default_factory=dict)
    """|direction| by name over the entries that matter; only where the scale is not exact."""

    def moves_far(self, params: Mapping[str, Tensor], h: float) -> bool:
        """Whether a perturbation would move a tensor that matters by much of itself, where slopes are not
        checked: a loss that has levelled off hides what it was."""
        if self.exact or not self.lengths:
            return False
        sizes = total_norms(torch.stack(torch._foreach_norm(list(params.values())))).tolist()
        counts = entry_counts(params.values())
        typical = math.hypot(*sizes) / math.sqrt(sum(counts))
        return any(
            h * self.lengths.get(name, 0.0) > FAR * max(size, 1e-2 * typical * math.sqrt(count))
            for name, size, count in zip(params, sizes, counts)
        )

    @property
    def length(self) -> float:
        """|direction| over the entries that matter; 0 where it is not known, as for an exact scale."""
        return math.hypot(*self.lengths.values())

    def step(self, eps: float, *, one_sided: bool) -> float | None:
        """The h that moves L as above, for values of this rounding; None where L does not say."""
        speed = max(abs(self.slope), self.spread)
        factor, power = ONE_SIDED if one_sided else CENTRAL
        if not (0.0 < speed < math.inf and 0.0 < self.loss < math.inf):
            return None
        return factor * eps**power * self.loss / speed


def scale_of(
    direction: Mapping[str, Tensor], grads: Mapping[str, Tensor], *, loss: Tensor, exact: bool = True
) -> Scale:
    """The scale of a loss with these gradients, one tensor at a time."""
    slopes, spreads, lengths = [], [], {}
    for name, along in direction.items():
        products = along * grads[name]
        slopes.append(products.sum())
        spreads.append(torch.linalg.vector_norm(products))
        if not exact and direction is not grads:
            lengths[name] = torch.linalg.vector_norm(along.masked_fill(grads[name] == 0, 0.0))
    return scale_from(slopes, spreads, loss=loss, exact=exact, lengths=lengths)


def scale_from(
    slopes: Sequence[Tensor],
    spreads: Sequence[Tensor],
    *,
    loss: Tensor,
    exact: bool = True,
    lengths: Mapping[str, Tensor],
) -> Scale:
    """The scale from the parts of its two sums, a pair for each tensor, and where it is not exact from
    |direction| by name; of the entries held here."""
    (slope,), norms = totals([torch.stack(list(slopes)).sum()], [*spreads, *lengths.values()])
    size, along, *each = torch.stack([loss.detach().abs().to(slope), slope, *norms]).tolist()
    each, by_name = each[: len(spreads)], each[len(spreads) :]
    spread = math.hypot(*each)
    # a tensor whose share of the slope is nothing may move as it likes
    named = {
        name: length
        for name, length, part in zip(lengths, by_name, each)
        if part > NEGLIGIBLE * max(spread, abs(along))
    }
    return Scale(size, along, spread, exact=exact, spreads=tuple(each), lengths=named)


def graph_rounding(value: Tensor) -> float:
    """The rounding of the narrowest floating dtype that the graph of a loss passes through."""
    seen, stack, eps = {value.grad_fn}, [value.grad_fn], torch.finfo(value.dtype).eps
    while stack:
        node = stack.pop()
        if node is None:
            continue
        for output in node._input_metadata:
            if output.dtype.is_floating_point:
                eps = max(eps, torch.finfo(output.dtype).eps)
        for following, _ in node.next_functions:
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return eps


def one_sided_share(eps: float) -> float:
    """By how much less a one-sided difference moves the loss than a central one."""
    return ONE_SIDED[0] * eps ** ONE_SIDED[1] / (CENTRAL[0] * eps ** CENTRAL[1])


def loss_rounding(dtype: torch.dtype, rounding: float | None) -> float:
    """Of a loss of params of this dtype; `rounding` is that of its graph, which averages over many values."""
    return max(torch.finfo(dtype).eps, (rounding or 0.0) / 8)


def narrowest(tensors: Iterable[Tensor]) -> torch.dtype:
    """The dtype of the tensors that rounds most.

    Raises:
        ValueError: it is of half precision, whose rounding is larger than any difference.
    """
    dtype = max((tensor.dtype for tensor in tensors), key=lambda dtype: torch.finfo(dtype).eps)
    if dtype not in CENTRAL_RADIUS:
        raise ValueError(
            f"differences need params in float32 or float64, got {dtype}, where rounding hides the "
            "perturbation; keep the params in float32 and run the forward pass under torch.autocast, or take "
            "exact derivatives (derivative=double_backward)"
        )
    return dtype


def used_norm(direction: Mapping[str, Tensor], grads: Mapping[str, Tensor] | None) -> float:
    """|direction| over the entries whose gradient is not exactly 0; over all where none is left."""
    used = 0.0
    if grads:
        used = float(params_norm(d.masked_fill(grads[name] == 0, 0.0) for name, d in direction.items()))
    return used or float(params_norm(direction.values()))


def first_step(
    dtype: torch.dtype,
    *,
    eps: float,
    scale: Scale | None,
    norm: Callable[[], float],
    radius: float | None,
    one_sided: bool,
) -> float:
    """h such that the perturbation h * direction suits the loss, or has the norm `radius` where one is given.

    Returns:
        h; 0 for a direction that is 0, or so small that h is beyond the dtype: there is no difference to
        take along it.
    """
    h = scale.step(eps, one_sided=one_sided) if scale is not None and radius is None else None
    if h is None:
        length = norm()
        radius = radius or (ONE_SIDED_RADIUS if one_sided else CENTRAL_RADIUS)[dtype]
        h = radius / length if length > 0.0 else 0.0
    # twice h is a difference's width
    return h if 2 * h <= torch.finfo(dtype).max else 0.0


def moved(params: Mapping[str, Tensor], direction: Mapping[str, Tensor], *, by: float) -> dict[str, Tensor]:
    """params + by * direction, in new tensors."""
    along = [direction[name] for name in params]
    return dict(zip(params, torch._foreach_add([p.detach() for p in params.values()], along, alpha=by)))


def size_of(tensors: Iterable[Tensor]) -> float:
    """The norm of all the tensors together, which are not params; 0 of none."""
    listed = [tensor.detach() for tensor in tensors]
    return float(global_norm(listed)) if listed else 0.0


class Gauge(NamedTuple):
    """What f(h), f(-h) and f(0) say of the difference f(h) - f(-h), each as a norm."""

    first: float
    """|f(h) - f(-h)|."""
    second: float
    """|f(h) - 2 f(0) + f(-h)|: curvature, and the rounding of three values."""
    rounding: float
    """Of one value, estimated."""
    error: float
    """Of the difference, estimated: rounding and truncation."""


def central_gauge(first: float, second: float, value: float, *, eps: float) -> Gauge:
    """The gauge of a central difference, from norms; `value` is |f(0)|.

    What is left of the second difference in units of rounding is taken for it, up to what a deep model's
    can be; the truncation of a function of one length scale is the square of second / first.
    """
    rounding = min(max(second / SECOND_ROUNDING, LEAST_ROUNDING * eps * value), MOST_ROUNDING * eps * value)
    bend = min(1.0, second / first) if first > 0.0 else 1.0
    error = math.sqrt(2.0) * rounding + TRUNCATION * bend * second
    return Gauge(first, second, rounding, error if math.isfinite(error) else math.inf)


def one_sided_gauge(first: float, value: float, *, eps: float) -> Gauge:
    """The gauge of f(h) - f(0): its rounding, and the truncation of a function that has changed by so much
    of itself."""
    rounding = LEAST_ROUNDING * eps * value
    bend = min(1.0, first / value) if value > 0.0 else 1.0
    error = 3.0 * math.sqrt(2.0) * rounding + bend * first / 2
    return Gauge(first, bend * first, rounding, error if math.isfinite(error) else math.inf)


def joint_gauge(gauges: Sequence[Gauge], weights: Sequence[float]) -> Gauge:
    """The gauge of all tensors together, each by its weight."""
    return Gauge(
        *(math.hypot(*(weight * gauge[i] for weight, gauge in zip(weights, gauges))) for i in range(4))
    )


Value = TypeVar("Value")


@dataclass
class Trial(Generic[Value]):
    """A difference at one h."""

    h: float
    value: Value
    error: float
    """Estimated, relative to the value."""
    gauge: Gauge

    @property
    def bend(self) -> float:
        """Curvature over slope."""
        return min(1.0, self.gauge.second / self.gauge.first) if self.gauge.first > 0.0 else 0.0


def best_trial(
    first: Trial[Value],
    take: Callable[[float], Trial[Value]],
    *,
    tries: int,
    largest: float,
    limit: float = REFINE,
) -> Trial[Value]:
    """The most precise of the first trial and of up to `tries` more at the h that their gauges suggest, until
    one is as precise as `limit`."""
    taken = [first]
    while len(taken) <= tries and min(trial.error for trial in taken) > limit:
        h = min(next_step(taken), largest)
        if not h > 0.0 or any(0.6 < h / trial.h < 1.7 for trial in taken):
            break
        taken.append(take(h))
    return min(taken, key=lambda trial: trial.error)


def next_step(taken: Sequence[Trial[Value]]) -> float:
    """The h at which rounding and truncation balance, by what was seen so far."""
    least, most = min(taken, key=lambda t: t.h), max(taken, key=lambda t: t.h)
    best = min(taken, key=lambda trial: trial.error)
    first, second, rounding, _ = best.gauge
    if not math.isfinite(most.gauge.first + most.gauge.second):
        return least.h / 1e3
    if most.gauge.first <= 2.0 * most.gauge.rounding:  # nothing moved
        return most.h * 1e2
    if least.h < most.h and least.gauge.second > 3.0 * most.gauge.second * (least.h / most.h):
        # falling slower than h, the second difference at the smaller one is rounding
        first, second = most.gauge.first, most.gauge.second
        rounding = least.gauge.second / SECOND_ROUNDING
        if second < 4.0 * least.gauge.second:  # it is rounding at the larger one as well
            return most.h * 8.0
        best = most
    bend = second / first
    balance = math.sqrt(2.0) * rounding / first / (2.0 * TRUNCATION * bend**2) if bend > 0.0 else 1e6
    return float(best.h * min(max(balance ** (1 / 3), 1e-4), 1e4))


# What lowers the error of an estimator that has the setting `derivative`.
EXACT_ADVICE = (
    "take derivative=double_backward or forward_mode, which are exact, or float64; leave radius out where "
    "one was given"
)


_REHEARSALS: ContextVar[list[Callable[[], AbstractContextManager[Any]]]] = ContextVar("rehearsals")


@contextmanager
def rehearsed_fallback(within: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """In the block, what takes the place of an imprecise difference runs beside the first one that it may
    replace, in a `within()`, and its result is dropped.

    For counting what a window may take on tensors without values, by which no difference can be judged.
    """
    token = _REHEARSALS.set([within])
    try:
        yield
    finally:
        _REHEARSALS.reset(token)


def rehearse(*fallbacks: Callable[[], Any]) -> None:
    """Run what may take a difference's place, if that is being counted and has not been."""
    if waiting := _REHEARSALS.get([]):
        with waiting.pop()():
            for fallback in fallbacks:
                fallback()


def report_error(window: WindowResult, absolute: float, *, advice: str, kept: float = 0.0) -> None:
    """Write the estimated relative error of alpha_grad to the window's stats, and judge it.

    Args:
        absolute: |error| of alpha_grad over all entries, estimated; 0 where no difference was taken.
        advice: which settings lower it.
        kept: the same, of gradients that were kept in bf16.
    """
    norm, total = size_of(window.alpha_grad.values()), absolute + kept
    error = 0.0 if total == 0.0 else total / norm if norm > 0.0 else math.inf
    window.stats["error"] = error
    if window.status is Status.ok and not error <= IMPRECISE:
        window.status = Status.imprecise
        window.message = (
            "the gradients that were kept in bf16 leave alpha_grad with an estimated relative error of "
            f"{error:.2g}, as most of it cancels; take keep=full"
            if kept > absolute
            else f"the differences leave alpha_grad with an estimated relative error of {error:.2g}: no "
            f"radius that was tried keeps both rounding and truncation small; {advice}"
        )
