"""What an inner optimizer is: a step, and the derivative of that step. An own one is a single function."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dreamprm.hypergrad.clipping import Clip, clip_of
from dreamprm.hypergrad.settings import as_number, check_not_negative, check_numbers
from dreamprm.hypergrad.trees import check_tensors, flatten, named

KEEP_FIXED = "use 0 to keep the params fixed"
NO_DECAY = "use 0 to disable it"
Rate = float | Callable[[int], float]
Decay = float | Callable[[str], float]
_NONE: Mapping[str, Tensor] = MappingProxyType({})


class OptimizerState(Protocol):
    """What an optimizer carries from step to step: `Moments`, or `AdamWState`."""

    step: int
    """Number of steps taken so far."""

    @property
    def moments(self) -> dict[str, dict[str, Tensor]]:
        """Tensors shaped like their parameter, by kind and parameter name."""


@dataclass
class Moments:
    """The number of steps taken so far, and moments by kind and parameter name."""

    step: int
    moments: dict[str, dict[str, Tensor]]


class Cotangents(NamedTuple):
    """Derivatives of the outer loss in one tensor and its moments; a kind left out stands for zero."""

    param: Tensor
    moments: Mapping[str, Tensor] = _NONE


class StepContext(NamedTuple):
    """Of which step, and of which tensor; lr and weight_decay are 0-dimensional tensors where the derivative
    in them is taken."""

    name: str
    step: int
    """Number of steps taken before this one."""
    lr: float | Tensor
    weight_decay: float | Tensor


class TensorStep(NamedTuple):
    """One step that was taken, of one tensor."""

    name: str
    step: int
    """Number of steps taken before it."""
    grad: Tensor
    """The gradient that it used, clipped if it was."""
    start: Mapping[str, Tensor] | None = None
    """Moments before the step by kind."""
    param: Tensor | None = None
    """The tensor before the step."""
    end: Mapping[str, Tensor] | None = None
    """Moments after the step by kind. `start`, `param` and `end` are None only where they are not needed, see
    `InnerOptimizer.vjp_reads`; `end` can also be had from the other two."""


class SettingTensors(NamedTuple):
    """Settings of one step as 0-dimensional tensors, for derivatives in them; None leaves the number."""

    lr: Tensor | None = None
    weight_decay: Mapping[str, Tensor] | None = None
    """By parameter name."""


class InnerOptimizer(ABC):
    """An optimizer whose steps the estimators differentiate. A frozen dataclass whose fields are its
    settings.

    An own optimizer names its moments (`kinds`) and writes `update`, one differentiable step of one tensor;
    everything else follows:

        @dataclass(frozen=True)
        class HeavyBall(InnerOptimizer):
            lr: float = 0.1
            momentum: float = 0.9
            kinds = ("velocity",)

            def update(self, param, grad, moments, at):
                velocity = self.momentum * moments["velocity"] - at.lr * grad
                return param + velocity, {"velocity": velocity}

    Moments start at zero. `lr`, `weight_decay` and `max_grad_norm` need not be fields; the values below hold
    then. An optimizer may replace the derivative by autograd (`vjp`) with a closed form, and tell with
    `vjp_reads` what that needs.
    """

    lr: Rate = 1e-3
    """Step size, or a callable from the number of steps already taken (0 at the first) to it."""
    weight_decay: Decay = 0.0
    """Weight decay, or a callable from a parameter's name to it."""
    max_grad_norm: float | None = None
    """Bound on the norm of the whole gradient, as `torch.nn.utils.clip_grad_norm_` takes it."""
    kinds: tuple[str, ...] = ()
    """Names of the moments."""
    elementwise: bool = False
    """Whether `update` treats each entry by itself, so that the shards of a tensor can be stepped apart."""

    @abstractmethod
    def update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of one tensor, by operations that autograd can follow and never in place.

        Args:
            param: phi.
            grad: of the shape of phi, clipped if it is.
            moments: by kind, of the shape of phi.
            at: the step: `at.lr` and `at.weight_decay` (numbers, or tensors where a derivative in them is
                taken: use them by arithmetic), `at.step` (0 at the first) and `at.name`.

        Returns:
            (phi', moments'), of the same shapes and dtypes.
        """

    @property
    def vjp_reads(self) -> tuple[str, ...]:
        """What `vjp` reads of a `TensorStep`, of "param", "start" and "end"; `first_order` recomputes no more
        than that. "param" must be among them where the moments depend on it."""
        return ("param", "start")

    @property
    def blocks_gradients(self) -> bool:
        """Whether no derivative in the gradient passes a step, whatever the gradient (a sign's is 0)."""
        return False

    def kinds_of(self, name: str, param: Tensor) -> tuple[str, ...]:
        """Names of the moments of this tensor."""
        del name, param
        return self.kinds

    def make_state(self, step: int, moments: dict[str, dict[str, Tensor]]) -> OptimizerState:
        """The state with these moments."""
        return Moments(step, moments)

    def init(self, params: Any) -> OptimizerState:
        """Zero moments for these params, no step taken."""
        moments: dict[str, dict[str, Tensor]] = {kind: {} for kind in self.kinds}
        for name, p in named(params, kind="params").items():
            if p.is_quantized:
                check_tensors({name: p}, kind="params")
            for kind in self.kinds_of(name, p):
                moments.setdefault(kind, {})[name] = torch.zeros_like(p, requires_grad=False)
        return self.make_state(0, moments)

    def learning_rate(self, step: int) -> float:
        """The step size after `step` steps have been taken (0 for the first)."""
        if not callable(self.lr):
            return float(self.lr)
        lr = as_number(self.lr(step), given=f"lr({step})")
        check_not_negative(lr, given=f"lr({step})", advice=KEEP_FIXED)
        return lr

    def decay(self, name: str) -> float:
        """The weight decay of the parameter of this name."""
        if not callable(self.weight_decay):
            return float(self.weight_decay)
        decay = as_number(self.weight_decay(name), given=f"weight_decay({name!r})")
        check_not_negative(decay, given=f"weight_decay({name!r})", advice=NO_DECAY)
        return decay

    def context(self, name: str, step: int) -> StepContext:
        """Of the step that follows `step` steps already taken."""
        return StepContext(name, step, self.learning_rate(step), self.decay(name))

    def clip(self, grads: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Clip | None]:
        """The gradients that the step uses; differentiable, and never modified in place.

        Returns:
            (grads, None) where nothing is clipped: the very tensors given; otherwise new ones and how they
            were had.
        """
        clip = self.clip_of(grads)
        if clip is None:
            return dict(grads), None
        return {name: clip.clipped(grad) for name, grad in grads.items()}, clip

    def clip_of(self, grads: Mapping[str, Tensor]) -> Clip | None:
        """How the step clips these gradients, differentiable; None where it does not."""
        return clip_of(grads, self.max_grad_norm)

    @torch.no_grad()
    def step(
        self,
        params: Any,
        grads: Any,
        *,
        state: OptimizerState,
        inplace: bool = False,
    ) -> tuple[Any, OptimizerState]:
        """One step along the clipped gradient; returns (params, state), all detached.

        `inplace=True` writes into the tensors given (and returns them); the bits are the same. `grads` has an
        entry for each of the params and is never modified.
        """
        given = flatten(params, kind="params")
        if given.rebuild is not None:
            flat, stepped = self.step(
                given.tensors, named(grads, kind="params"), state=state, inplace=inplace
            )
            return given.rebuild(flat), stepped
        clip = self.clip_of(grads)
        new_params: dict[str, Tensor] = {}
        new_moments: dict[str, dict[str, Tensor]] = {kind: {} for kind in state.moments}
        for name, p in params.items():
            param, grad = p.detach(), grads[name].detach()
            if clip is not None:
                grad = clip.clipped(grad)
            moments = {kind: moment.detach() for kind, moment in moments_at(state, name).items()}
            new, after = self._checked_update(param, grad, moments, self.context(name, state.step))
            new_params[name] = param.copy_(new) if inplace else new
            for kind, moment in after.items():
                new_moments[kind][name] = moments[kind].copy_(moment) if inplace else moment
        return new_params, self.make_state(state.step + 1, new_moments)

    def differentiable_step(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        *,
        state: OptimizerState,
        settings: SettingTensors | None = None,
    ) -> tuple[dict[str, Tensor], OptimizerState]:
        """`step` with its graph, out of place; in `settings` too, where they are given."""
        grads, _ = self.clip(grads)
        new_params: dict[str, Tensor] = {}
        new_moments: dict[str, dict[str, Tensor]] = {kind: {} for kind in state.moments}
        for name, p in params.items():
            at = self.context(name, state.step)
            if settings is not None and settings.lr is not None:
                at = at._replace(lr=settings.lr.to(p))
            if settings is not None and settings.weight_decay is not None:
                at = at._replace(weight_decay=settings.weight_decay[name].to(p))
            new_params[name], after = self.update(p, grads[name], moments_at(state, name), at)
            for kind, moment in after.items():
                new_moments[kind][name] = moment
        return new_params, self.make_state(state.step + 1, new_moments)

    @torch.no_grad()
    def advance_moments(self, taken: TensorStep) -> Mapping[str, Tensor]:
        """The moments of one tensor after a step, with the bits that `step` gives."""
        assert taken.param is not None and taken.start is not None
        return self.update(taken.param, taken.grad, taken.start, self.context(taken.name, taken.step))[1]

    def vjp(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor; by autograd of `update`.

        Args:
            cotangents: derivatives in the step's results phi' and moments'.
            taken: the step.

        Returns:
            (gbar, cotangents): derivatives in the gradient that the step used, and in what it started from.

        Raises:
            ValueError: what `update` returns is cut off from the tensor it started from.
        """
        param, grad, moments = _variables(taken)
        with torch.enable_grad():
            results = self.update(param, grad, moments, self.context(taken.name, taken.step))
        found = _pull_back(cotangents, results, [grad, param, *moments.values()], by=self)
        # autograd may hand out one tensor twice, or the very cotangents: estimators add to them in place
        gbar, lam, *rest = (part.clone() for part in found)
        return gbar, Cotangents(lam, dict(zip(moments, rest)))

    def settings_vjp(
        self, cotangents: Cotangents, taken: TensorStep, wrt: Collection[str]
    ) -> dict[str, Tensor]:
        """Derivatives in settings of one step of one tensor; by autograd of `update`.

        Args:
            cotangents: derivatives in the step's results phi' and moments'.
            taken: the step, with `param` and `start`.
            wrt: some of "lr" and "weight_decay".

        Returns:
            A scalar for each of `wrt`.

        Raises:
            ValueError: what `update` returns is cut off from one of them.
        """
        assert taken.param is not None and taken.start is not None
        param, at = taken.param.detach(), self.context(taken.name, taken.step)
        numbers = {"lr": float(at.lr), "weight_decay": float(at.weight_decay)}
        inputs = {
            name: torch.tensor(numbers[name], dtype=param.dtype, device=param.device, requires_grad=True)
            for name in wrt
        }
        with torch.enable_grad():
            at = StepContext(
                at.name, at.step, inputs.get("lr", at.lr), inputs.get("weight_decay", at.weight_decay)
            )
            results = self.update(param, taken.grad.detach(), taken.start, at)
        outputs, parts = _outputs(cotangents, results)
        found: Sequence[Tensor | None] = [None] * len(inputs)
        if outputs:
            found = torch.autograd.grad(outputs, list(inputs.values()), parts, allow_unused=True)
        for name, gradient in zip(inputs, found):
            if gradient is None:
                raise ValueError(
                    f"{type(self).__name__}.update has no gradient in {name}: it does not use at.{name}, or "
                    "takes a number from it (float(), .item()); write it by arithmetic, without a branch on "
                    "its value"
                )
        return {name: gradient for name, gradient in zip(inputs, found) if gradient is not None}

    def vjp_inplace(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """`vjp` that may overwrite `taken.end` and the cotangents of the moments, which nobody reads again.

        Never that of the param, of which autograd may have returned one tensor for two; the cotangent of the
        param that is returned may be that very tensor.
        """
        return self.vjp(cotangents, taken)

    def _checked_update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`update`, whose results are of the right form and share no memory with its arguments."""
        given = [param, grad, *moments.values()]
        versions = [tensor._version for tensor in given]
        new, after = self.update(param, grad, moments, at)
        if [tensor._version for tensor in given] != versions:
            raise ValueError(
                f"{type(self).__name__}.update modified its arguments in place: make new tensors"
            )
        if set(after) != set(moments):
            raise ValueError(
                f"{type(self).__name__}.update must return the moments {', '.join(moments) or 'of none'}, "
                f"got {', '.join(after) or 'none'}"
            )
        for what, result in {"param": new, **after}.items():
            if result.shape != param.shape or result.dtype != param.dtype:
                raise ValueError(
                    f"{type(self).__name__}.update must return a {what} of shape {tuple(param.shape)} and "
                    f"dtype {param.dtype} for {at.name!r}, got {tuple(result.shape)} and {result.dtype}"
                )
        taken = {tensor.untyped_storage().data_ptr() for tensor in given}
        own = [t.clone() if t.untyped_storage().data_ptr() in taken else t for t in (new, *after.values())]
        return own[0], dict(zip(after, own[1:]))


def moments_at(state: OptimizerState, name: str) -> dict[str, Tensor]:
    """The moments of one tensor by kind."""
    return {kind: moments[name] for kind, moments in state.moments.items() if name in moments}


def check_common_settings(optimizer: InnerOptimizer) -> None:
    """Check lr, weight_decay and max_grad_norm, for the `__post_init__` of an optimizer.

    Raises:
        ValueError: a setting is a tensor, or one is out of its range.
    """
    check_numbers(optimizer)
    if not callable(optimizer.lr):
        check_not_negative(optimizer.lr, given="lr", advice=KEEP_FIXED)
    if not callable(optimizer.weight_decay):
        check_not_negative(optimizer.weight_decay, given="weight_decay", advice=NO_DECAY)
    bound = optimizer.max_grad_norm
    if bound is not None and not (bound > 0.0 and math.isfinite(bound)):
        raise ValueError(f"max_grad_norm must be > 0, got {bound}; use None to disable it")


def _variables(taken: TensorStep) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(param, grad, moments) of a step as leaves that collect gradients."""
    assert taken.param is not None and taken.start is not None
    return (
        taken.param.detach().requires_grad_(),
        taken.grad.detach().requires_grad_(),
        {kind: moment.detach().requires_grad_() for kind, moment in taken.start.items()},
    )


def _pull_back(
    cotangents: Cotangents,
    results: tuple[Tensor, Mapping[str, Tensor]],
    inputs: list[Tensor],
    *,
    by: InnerOptimizer,
) -> list[Tensor]:
    """d <cotangents, results> / d inputs."""
    new, after = results
    if not new.requires_grad:
        raise ValueError(
            f"the param that {type(by).__name__}.update returns is cut off from its arguments (detached, or "
            "computed under torch.no_grad()): write it by operations that autograd can follow"
        )
    outputs, parts = _outputs(cotangents, results)
    return list(torch.autograd.grad(outputs, inputs, parts, materialize_grads=True))


def _outputs(
    cotangents: Cotangents, results: tuple[Tensor, Mapping[str, Tensor]]
) -> tuple[list[Tensor], list[Tensor]]:
    """The results that have a graph, and their cotangents."""
    new, after = results
    pairs = [(new, cotangents.param), *((after[kind], part) for kind, part in cotangents.moments.items())]
    kept = [(output, part) for output, part in pairs if output.requires_grad]
    return [output for output, _ in kept], [part for _, part in kept]
