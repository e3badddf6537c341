"""The forward gradient: tangents carried along random directions in alpha, in memory independent of T."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Estimator, WindowResult, WindowTask
from dreamprm.hypergrad.cold_start import report_cold_start, rounded_start
from dreamprm.hypergrad.derivatives import (
    DERIVATIVES,
    CentralDifference,
    Derivative,
    Difference,
    DoubleBackward,
    ForwardMode,
)
from dreamprm.hypergrad.differences import report_error
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, TensorStep, moments_at
from dreamprm.hypergrad.mixed_derivative import InnerLevel
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.sharding import params_norm, total, total_norms
from dreamprm.hypergrad.tangents import (
    GradientDifference,
    GradientTangent,
    StepTangent,
    Toward,
    by_double_backward,
    by_forward_mode,
    step_tangents,
    upper_tangents,
)
from dreamprm.hypergrad.torch_errors import advice
from dreamprm.hypergrad.trajectory import Point
from dreamprm.hypergrad.window_passes import InnerGradient, inner_gradient, outer_gradient

ADVICE = (
    "take derivative=double_backward or forward_mode, which are exact, or float64; leave radius out where "
    "one was given"
)


@dataclass(frozen=True)
class ForwardGradient(Estimator):
    """alpha_grad = dL_meta/dalpha + (N/K) sum_k u_k <dL_meta/dphi_T, phi_k>, unbiased.

        phi_k = d phi_T / d alpha along u_k, for K orthonormal directions u_k in the N entries of alpha
        forwards over t, from phi_k = m_k = v_k = 0:
            g_k = (d^2 L/dphi^2) phi_k + (d^2 L/dphi dalpha) u_k          on batch t, at phi_t
            phi_k, m_k, v_k = derivative of the inner optimizer's step t along (phi_k, g_k, m_k, v_k)

    Nothing is kept of the steps: memory does not depend on T, at any T. Its price is variance. The directions
    are drawn anew for each window, uniformly, and the error of one window's estimate is

        E |alpha_grad - exact|^2 = (N/K - 1) |exact - dL_meta/dalpha|^2

    as the direct part is taken exactly. With N = 15 domains a single direction is off by 3.7 times the
    gradient, four by 1.7 times. With `directions` >= N they are the unit vectors, and the result is exact,
    the number that `unrolled` gives.

    Use it for alpha of a few entries, or with upper steps that average over many windows, where T is so long
    that even T gradients on disk are too many. Not for per-sample weights or nets: `adjoint` has no
    variance, needs one pass back whatever N is, and with `offload` is as flat in T.

    Cost in addition to plain training's 3 units a step (1 forward = 1 unit), for each direction and step: 6
    by central differences, 3 by one-sided ones, 4 (and 7 once) by double backward, 6 by forward mode. A
    structured problem also takes one backward pass over `weights` for each loss of the batch.

    Memory in addition to the params and moments passed in, in multiples of the size of params: K (1 + number
    of moments) tangents, K derivatives of gradients, the gradient, and new states.

    Args:
        directions: K. More than alpha has entries are not taken.
        seed: of the directions, which also depend on the optimizer's step count and on the values of alpha,
            so that windows differ and one window can be repeated. Global random states are not touched.
        derivative: how g_k is taken. Differences work with every kernel; double backward and forward mode
            are exact and need operations that have such derivatives.

    `window.stats` has `directions`, those taken, and `standard_error`: the root of the mean square of
    |alpha_grad - exact| over draws, estimated from this one; 0 where the directions span alpha. It does not
    change the status.

    Raises:
        ValueError: a setting out of its range; in a window, a derivative of another kind than the above.
        NotImplementedError: in a window, where an operation of the model lacks a derivative that is taken.

    Source: Shen et al. (FG2U), arXiv 2406.14095; Baydin et al., arXiv 2202.08587. Departures: orthonormal
    directions in place of independent Rademacher vectors, of the same expectation and less variance (N/K - 1
    in place of (N - 1)/K); the direct part of the outer gradient is exact.
    """

    directions: int = setting(
        8,
        "how many random directions in alpha tangents are carried along; as many as alpha has entries make "
        "it exact",
        minimum=1,
    )
    seed: int = setting(0, "of the random directions", minimum=0)
    derivative: Derivative = setting(
        CentralDifference(),
        "how the inner gradient's derivative along a direction is taken: by differences of gradients, which "
        "any kernel allows, or exactly, by second-order or forward-mode autograd",
        parts=DERIVATIVES,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def differentiates_steps(self) -> bool:
        """True."""
        return True

    def _run(self, task: WindowTask) -> WindowResult:
        frame = Frame.drawn(task.alpha, count=self.directions, seed=self.seed, step=task.state.step)
        carried = [_Carried.zeros(task) for _ in frame.directions]
        cold = _ColdTangent(task.optimizer)
        at, losses, passes, rounding = Point(task.params, task.state), list[Tensor](), [1, 1], None
        for t, batch in enumerate(task.inner_batches):
            differs = isinstance(self.derivative, Difference)
            inner = inner_gradient(
                task, at.params, batch=batch, with_alpha=differs, with_rounding=differs and t == 0
            )
            rounding = inner.rounding or rounding
            passes = [passes[0] + inner.forward, passes[1] + 1]
            losses.append(inner.loss)
            grads = inner.all_grads()
            if carried:
                tangents = self._of_gradient(
                    task, at, inner, grads, frame=frame, carried=carried, rounding=rounding
                )
                for one, tangent in zip(carried, tangents):
                    one.see(tangent)
                    passes = [passes[0] + tangent.forward, passes[1] + tangent.backward]
                found = [tangent.tensors for tangent in tangents]
                _through_step(task, at, grads, carried=carried, tangents=found, cold=cold)
                del tangents, found
            del inner
            # after the first step the tensors are ours to overwrite
            at = Point(*task.optimizer.step(at.params, grads, state=at.state, inplace=task.donate or t > 0))
            del grads  # not in memory during the next step
        outer = outer_gradient(task, at.params)
        slopes = [one.slope(outer.params) for one in carried]
        window = WindowResult(
            params=at.params,
            state=at.state,
            alpha_grad=frame.combined(slopes, direct=outer.alpha),
            inner_losses=torch.stack(losses),
            outer_loss=outer.loss,
            stats={
                "forward": passes[0],
                "backward": passes[1],
                "directions": len(carried),
                "standard_error": frame.standard_error(slopes),
            },
        )
        errors = [one.error(outer.params) for one in carried]
        report_error(window, frame.scale * math.hypot(*errors), advice=ADVICE)
        report_cold_start(window, cold.error(carried, outer.params))
        return window

    def _of_gradient(
        self,
        task: WindowTask,
        at: Point,
        inner: InnerGradient,
        grads: dict[str, Tensor],
        *,
        frame: Frame,
        carried: list[_Carried],
        rounding: float | None,
    ) -> list[GradientTangent]:
        """g_k for each direction."""
        level = InnerLevel(task.problem, at.params, task.alpha, batch=inner.batch, losses=inner.losses)
        upper = upper_tangents(
            task.problem, task.alpha, batch=inner.batch, losses=inner.losses, directions=frame.directions
        )
        toward = [Toward(one.params(), along) for one, along in zip(carried, upper)]
        kind = self.derivative
        if isinstance(kind, Difference):
            at_phi = level.upper_grads_at_phi()
            upper_grads = dict(zip(level.upper, at_phi)) if at_phi is not None else inner.alpha
            assert upper_grads is not None
            difference = GradientDifference(
                level,
                at.params,
                grads=grads,
                upper_grads=upper_grads,
                loss=inner.loss,
                rounding=rounding,
                one_sided=kind.one_sided,
            )
            return [difference.along(one, radius=kind.radius) for one in toward]
        with advice(DERIVATIVES.name_of(kind)):
            if isinstance(kind, DoubleBackward):
                return by_double_backward(level, at.params, toward)
            if isinstance(kind, ForwardMode):
                return by_forward_mode(level, at.params, toward)
        raise ValueError(
            f"forward_gradient takes no derivative of the kind {type(kind).__name__}; take "
            "central_difference, forward_difference, double_backward or forward_mode"
        )


@dataclass(frozen=True)
class Frame:
    """Orthonormal directions in alpha, and what a gradient is made of from its slopes along them."""

    directions: list[dict[str, Tensor]]
    entries: int
    """N, of alpha."""

    @classmethod
    def drawn(cls, alpha: Mapping[str, Tensor], *, count: int, seed: int, step: int) -> Frame:
        """The unit vectors, or where they are more than `count` that many of a random frame, which is uniform
        over the frames."""
        shapes, sizes = [a.shape for a in alpha.values()], [a.numel() for a in alpha.values()]
        entries = sum(sizes)
        if count >= entries:
            rows = torch.eye(entries, dtype=torch.float64)
        else:
            # alpha has moved since the last window, whatever became of the step count
            flat = torch.cat([a.detach().double().flatten().cpu() for a in alpha.values()])
            place = float((flat * torch.linspace(1.0, 2.0, entries, dtype=torch.float64)).sum())
            generator = torch.Generator().manual_seed(random.Random(f"{seed} {step} {place}").getrandbits(63))
            drawn = torch.randn(entries, count, generator=generator, dtype=torch.float64)
            rows = torch.linalg.qr(drawn).Q.T
        directions = []
        for row in rows:
            parts = row.split(sizes)
            directions.append(
                {name: part.reshape(shape).to(alpha[name]) for name, part, shape in zip(alpha, parts, shapes)}
            )
        return cls(directions, entries)

    @property
    def scale(self) -> float:
        """N / K: by how much the part of a gradient that lies in the directions' span is too short."""
        return self.entries / len(self.directions) if self.directions else 0.0

    def combined(self, slopes: list[Tensor], *, direct: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """direct + (N/K) sum_k u_k slope_k."""
        grads = dict(direct)
        for along, slope in zip(self.directions, slopes):
            for name, part in along.items():
                grads[name] = grads[name] + part * (self.scale * slope).to(part)
        return grads

    def standard_error(self, slopes: list[Tensor]) -> float:
        """sqrt((N/K - 1) |g|^2), with |g|^2 = (N/K) sum_k slope_k^2."""
        size = math.hypot(*(float(slope) for slope in slopes))
        return math.sqrt(max(0.0, self.scale - 1.0) * self.scale) * size


@dataclass
class _Carried:
    """The tangents along one direction, and what is known of their error."""

    tangents: dict[str, StepTangent]
    sizes: dict[str, float] = field(default_factory=dict)
    """Sum over the steps of |g_k|^2, tensor by tensor; of differences."""
    errors: dict[str, float] = field(default_factory=dict)
    """The same of its estimated error."""

    @classmethod
    def zeros(cls, task: WindowTask) -> _Carried:
        """At the start of a window, which alpha does not move."""
        return cls(
            {
                name: StepTangent(
                    torch.zeros_like(p),
                    {kind: torch.zeros_like(m) for kind, m in moments_at(task.state, name).items()},
                )
                for name, p in task.params.items()
            }
        )

    def params(self) -> dict[str, Tensor]:
        """phi_k by name."""
        return {name: one.param for name, one in self.tangents.items()}

    def see(self, tangent: GradientTangent) -> None:
        """Take account of one step's difference."""
        for name, size, error in zip(tangent.tensors, tangent.sizes, tangent.errors):
            self.sizes[name] = self.sizes.get(name, 0.0) + size**2
            self.errors[name] = self.errors.get(name, 0.0) + error**2

    def slope(self, lam: Mapping[str, Tensor]) -> Tensor:
        """<dL_meta/dphi_T, phi_k>."""
        return total(
            torch.stack([(one.param * lam[name]).sum() for name, one in self.tangents.items()]).sum()
        )

    def error(self, lam: Mapping[str, Tensor]) -> float:
        """Estimated |error| of the slope that differences leave, of each tensor by its share."""
        shares = [name for name, size in self.sizes.items() if size > 0.0 and self.errors[name] > 0.0]
        if not shares:
            return 0.0
        products = [self.tangents[name].param * lam[name] for name in shares]
        # rounding has random signs, truncation has not
        norms, sums = torch.stack(
            [
                total_norms(torch.stack(torch._foreach_norm(products))),
                total(torch.stack([product.sum() for product in products])).abs(),
            ]
        ).tolist()
        each = (
            max(pair) * math.sqrt(self.errors[n] / self.sizes[n]) for n, *pair in zip(shares, norms, sums)
        )
        return math.hypot(*each)


class _ColdTangent:
    """What rounding of a first gradient does to the tangents, along the direction that moves it most.

    See `ColdStart`, which asks the same of the way back.
    """

    def __init__(self, optimizer: InnerOptimizer) -> None:
        self._optimizer, self._along = optimizer, 0
        self._changes: dict[str, Tensor] = {}

    def choose(self, tangents: list[dict[str, Tensor]]) -> None:
        """Take the largest of the gradient's tangents."""
        if not self._changes:
            sizes = torch.stack([params_norm(one.values()) for one in tangents])
            self._along = int(sizes.argmax())

    def see(
        self, taken: TensorStep, toward: list[tuple[StepTangent, Tensor]], found: list[StepTangent]
    ) -> None:
        """Look at one tensor's step."""
        rounded = rounded_start(self._optimizer, taken)
        if rounded is not None:
            (moved,) = step_tangents(self._optimizer, rounded, [toward[self._along]])
            self._changes[taken.name] = moved.param - found[self._along].param

    def error(self, carried: list[_Carried], lam: Mapping[str, Tensor]) -> float | None:
        """|lam * change| / |lam * phi_k|, entry by entry; None where there was no such step."""
        if not self._changes:
            return None
        params = carried[self._along].params()
        change, whole = (
            float(params_norm((lam[name] * tensors[name]).double() for name in self._changes))
            for tensors in (self._changes, params)
        )
        return change / whole if whole > 0.0 else None


@torch.no_grad()
def _through_step(
    task: WindowTask,
    at: Point,
    grads: dict[str, Tensor],
    *,
    carried: list[_Carried],
    tangents: list[dict[str, Tensor]],
    cold: _ColdTangent,
) -> None:
    """Carry the tangents through the step that the optimizer takes from here, tensor by tensor."""
    optimizer, state = task.optimizer, at.state
    clip = optimizer.clip_of(grads)
    if clip is not None:  # the derivative of clipping is symmetric
        tangents = [clip.vjp(one, grads) for one in tangents]
    cold.choose(tangents)
    for name, raw in grads.items():
        grad = raw if clip is None else clip.clipped(raw)
        taken = TensorStep(name, state.step, grad, moments_at(state, name), at.params[name])
        toward = [(one.tangents[name], tangent[name]) for one, tangent in zip(carried, tangents)]
        found = step_tangents(optimizer, taken, toward)
        cold.see(taken, toward, found)
        for one, after in zip(carried, found):
            one.tangents[name] = after
