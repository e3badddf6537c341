"""The exact hypergradient by the adjoint recursion through AdamW, with one step's graph at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Estimator, WindowResult, WindowTask
from dreamprm.hypergrad.cold_start import ColdStart
from dreamprm.hypergrad.derivatives import DERIVATIVES, OLD_NAMES, Derivative, Difference, DoubleBackward
from dreamprm.hypergrad.differences import EXACT_ADVICE, report_error, scale_of, used_norm
from dreamprm.hypergrad.further_gradients import WRT, SettingGradients
from dreamprm.hypergrad.inner_optimizer import Cotangents, InnerOptimizer, TensorStep, moments_at
from dreamprm.hypergrad.kept_steps import rounding_error
from dreamprm.hypergrad.mixed_derivative import Mixed, exact_mixed, mixed_from_slopes
from dreamprm.hypergrad.mixed_difference import finite_difference, shared_error
from dreamprm.hypergrad.offload import Store, gradient_store, keep_setting, offload_setting, open_store
from dreamprm.hypergrad.products import Gradient, take_product
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.sharding import total
from dreamprm.hypergrad.torch_errors import advice
from dreamprm.hypergrad.trajectory import CHECKPOINTS, Point, Trajectory
from dreamprm.hypergrad.window_passes import InnerGradient, inner_gradient, outer_gradient


@dataclass(frozen=True)
class Adjoint(Estimator):
    """alpha_grad = dL_meta/dalpha + sum_t d/dalpha <gbar_t, grad_phi L(phi_t, alpha; B_t)>, exact.

        backwards over t, from lam = dL_meta/dphi_T, lam_m = lam_v = 0:
            gbar_t, lam, lam_m, lam_v = derivatives through step t in closed form (`AdamW.vjp`, `Clip.vjp`)
            lam += (d^2 L/dphi^2)(phi_t) gbar_t

    The number that `unrolled` gives, with the graph of one step in memory instead of T. Use it wherever the
    exact hypergradient is wanted and the model is not tiny. Not where lr T |H| is so small that `first_order`
    agrees with it: that one costs about a third.

    Cost of a window of T = 5 by count of passes (1 forward = 1 unit, plain training 18), with one loss in a
    batch and with several, by `derivative`:

    - `DoubleBackward()`, the default: exact; 43 and 48 units.
    - `ForwardMode()`: exact; 42 and 44 units, but slower than double backward by the clock.
    - `CentralDifference()`: any kernel; 42 and 44 units. Relative error of alpha_grad in float32 on a random
      Qwen2-VL PRM of 1M parameters, T = 5: 6e-7 at lr 5e-7 and 1e-5 at lr 1e-4 with one loss in a batch,
      5e-5 with four (lr 5e-7).
    - `ForwardDifference()`: any kernel; 30 and 31 units. Error there: 1e-6, 1e-4 and 2e-3.

    The first step of a window needs no product, only the mixed derivative, which a structured problem with
    one loss in the batch (n = 1) has as a dot product with the gradient already computed.

    Memory in addition to the params and moments passed in, in multiples of the size of params: phi_T with its
    moments 3, lam and its moments 3, the gradient, gbar and the product 3, the states in use 3 to 6, and what
    is kept of the T steps (T gradients, or T gradients and states). While stepping, the weighted gradient of
    a single loss is held next to the unweighted one: 1.

    Args:
        derivative: how Hessian-vector products and mixed derivatives are taken: as above, and derivatives.py
            for what each kind needs of the model.
        checkpoint: "recompute" keeps the window's first state and T gradients, and takes the steps again from
            there (elementwise work, the same bits); "keep" keeps all states.
        keep_graphs: with `DoubleBackward`: the gradient of so many last steps of the window is taken with a
            graph, and the product there is a forward and a backward pass less (4 units in place of 7). Not of
            batches in parts. The last step's graph is in memory together with that of the outer loss only;
            each further one adds a step's graph.
        offload: where the kept tensors live: "none" leaves them where they are; "cpu" in page-locked memory,
            for params on an accelerator; "disk" in a temporary file, for memory flat in T on a CPU.
        keep: "bf16" rounds the gradients that are kept; params and moments are those of "full" to the bit.
            With checkpoint="recompute" the states on the way back are then recomputed from rounded gradients.
            What the slopes lose is estimated in stats["error"]. Not with `ForwardDifference`, which starts
            from the kept gradient.

    Raises:
        ValueError: a setting is not one of the above, or keep="bf16" with `ForwardDifference`.
        NotImplementedError: in a window, where an operation of the model lacks a derivative that is taken.

    Source: DESIGN of this package (docs/hypergradients.md); for SGD with momentum, Franceschi et al., arXiv
    1703.01785, and Maclaurin et al., arXiv 1502.03492.
    """

    derivative: Derivative = setting(
        DoubleBackward(),
        "how Hessian-vector products are taken: exactly, by second-order or forward-mode autograd; or by "
        "differences of gradients, which any kernel allows",
        parts=DERIVATIVES,
        formerly=OLD_NAMES,
    )
    checkpoint: str = setting(
        "recompute",
        "keep the window's first state and its gradients and take the steps again; or keep every state",
        choices=CHECKPOINTS,
    )
    offload: str = offload_setting()
    keep_graphs: int = setting(
        1,
        "how many last steps of the window keep the graph of their gradient, which takes a forward and a "
        "backward pass off the product there; these graphs are in memory together",
        minimum=0,
        advice="use 0 to keep none",
        when={"derivative": ("double_backward",)},
    )
    keep: str = keep_setting()

    def __post_init__(self) -> None:
        check_settings(self)
        if self.keep == "bf16" and isinstance(self.derivative, Difference) and self.derivative.one_sided:
            raise ValueError(
                "keep=bf16 rounds the gradient that a forward difference starts from; take "
                "derivative=central_difference (or an exact kind), or keep=full"
            )

    @property
    def _differs(self) -> bool:
        return isinstance(self.derivative, Difference)

    @property
    def gives(self) -> tuple[str, ...]:
        """All of them."""
        return WRT

    @property
    def differentiates_steps(self) -> bool:
        """True."""
        return True

    def _run(self, task: WindowTask) -> WindowResult:
        with open_store(self.offload) as store:
            return self._run_with(task, store)

    def _run_with(self, task: WindowTask, store: Store) -> WindowResult:
        start = Point(task.params, task.state)
        at, record = self.record(task, start, batches=task.inner_batches, owned=task.donate, store=store)
        outer = outer_gradient(task, at.params)
        window = WindowResult(
            params=at.params,
            state=at.state,
            alpha_grad=outer.alpha,
            outer_loss=outer.loss,
            inner_losses=torch.stack([step.inner.loss for step in record.steps]),
            stats={"forward": record.forward + 1, "backward": len(record.steps) + 1},
        )
        lam = {name: Cotangents(outer.params.pop(name)) for name in task.params}
        del start, at, outer
        influences = self.sweep(task, record, lam=lam, alpha_grad=window.alpha_grad, stats=window.stats)
        report_error(window, record.errors.alpha, advice=EXACT_ADVICE, kept=record.errors.kept)
        record.cold.report(window)
        if task.problem.structured:
            window.stats["influences"] = influences
        window.lr_grad = record.settings.lr
        window.weight_decay_grad = record.settings.weight_decay(task.params)
        if "params0" in task.wrt:
            window.params0_grad = {name: cotangents.param for name, cotangents in lam.items()}
        return window

    def record(
        self,
        task: WindowTask,
        at: Point,
        *,
        batches: Sequence[Any],
        owned: bool,
        store: Store,
        first: int = 0,
        total: int | None = None,
        rounding: float | None = None,
    ) -> tuple[Point, Record]:
        """Take the steps first, first + 1, ... of a window of `total`, and keep what `sweep` needs of them.

        `owned`: the tensors at this point may be overwritten. `rounding`: of the gradients, as it was seen at
        the window's first step; None: see it at these steps' first one.
        """
        total = len(batches) if total is None else total
        trajectory = Trajectory(task.optimizer, store, checkpoint=self.checkpoint)
        settings = SettingGradients(task.optimizer, task.wrt, first=task.state.step)
        record = Record(trajectory, first, ColdStart(task.optimizer), settings, rounding=rounding)
        for t, batch in enumerate(batches, start=first):
            with_rounding = rounding is None and self._differs and t == first
            inner = self._inner(task, at, batch=batch, t=t, total=total, with_rounding=with_rounding)
            record.rounding = inner.rounding or record.rounding
            if t > 0 and inner.grads is not None:
                inner.single = None  # the product gives the slope as well
            # a graph needs the params where it was built
            free = (owned or t > first) and inner.graph is None
            at = record.trajectory.step(at, inner.all_grads(), owned=free)
            record.steps.append(_Step(inner, gradient_store(store, self.keep)))
            record.forward += inner.forward
            del inner  # not in memory during the next step
        return at, record

    def rounding(self, task: WindowTask, at: Point, *, total: int) -> float | None:
        """What `record` sees at the first step of a window, for records that start later; None: nothing."""
        if not self._differs:
            return None
        batch = task.inner_batches[0]
        return self._inner(task, at, batch=batch, t=0, total=total, with_rounding=True).rounding

    def advance(
        self,
        task: WindowTask,
        at: Point,
        *,
        batches: Sequence[Any],
        owned: bool,
        first: int,
        total: int,
    ) -> Point:
        """Take the steps that `record` takes, with the same bits, and keep nothing."""
        for t, batch in enumerate(batches, start=first):
            inner = self._inner(task, at, batch=batch, t=t, total=total)
            grads = inner.all_grads()
            free = (owned or t > first) and inner.graph is None
            del inner
            at = Point(*task.optimizer.step(at.params, grads, state=at.state, inplace=free))
        return at

    def _inner(
        self, task: WindowTask, at: Point, *, batch: Any, t: int, total: int, with_rounding: bool = False
    ) -> InnerGradient:
        # the window's first step has no product to save passes of
        keeps = isinstance(self.derivative, DoubleBackward)
        graphs = max(1, total - self.keep_graphs) if keeps else total
        return inner_gradient(
            task,
            at.params,
            batch=batch,
            with_alpha=self._differs,
            with_rounding=with_rounding,
            keep_graph=t >= graphs,
        )

    def sweep(
        self,
        task: WindowTask,
        record: Record,
        *,
        lam: dict[str, Cotangents],
        alpha_grad: dict[str, Tensor],
        stats: dict[str, Any],
    ) -> list[Tensor]:
        """Carry lam (in place) backwards through the steps on record, and add their share of alpha_grad.

        Returns:
            the influences of each step's losses, first step first; empty for a problem in plain form.
        """
        steps, influences = record.steps, list[Tensor]()
        for point in record.trajectory.backwards(lambda t: steps[t].grads()):
            inner = steps.pop().load()
            grads = inner.all_grads()
            gbar = _through_step(
                task.optimizer, point, grads, lam=lam, cold=record.cold, settings=record.settings
            )
            params = point.params if inner.graph is None else {}
            del point  # its moments have served
            more = bool(steps) or record.first > 0 or "params0" in task.wrt
            mixed = self._second_order(
                task, inner, params, grads=grads, gbar=gbar, lam=lam if more else None, record=record
            )
            stats["forward"] += mixed.forward
            stats["backward"] += mixed.backward
            if self.keep == "bf16":
                record.errors.kept += rounding_error(task, inner, mixed, grads=grads, gbar=gbar)
            for name, grad in mixed.alpha.items():
                alpha_grad[name] = alpha_grad[name] + grad
            if mixed.slopes is not None:
                influences.insert(0, mixed.slopes / mixed.slopes.numel())
            del inner, grads, gbar, params  # not in memory during the next step
        return influences

    def _second_order(
        self,
        task: WindowTask,
        inner: InnerGradient,
        params: dict[str, Tensor],
        *,
        grads: dict[str, Tensor],
        gbar: dict[str, Tensor],
        lam: dict[str, Cotangents] | None,
        record: Record,
    ) -> Mixed:
        """The mixed derivative along gbar; adds H gbar to lam, which the window's first step does not
        need."""
        at = {"batch": inner.batch, "direction": gbar, "losses": inner.losses}
        mixed = product = None
        if inner.single is not None:
            assert inner.losses is not None
            slope = total(
                torch.stack(
                    [
                        torch.dot(gbar[name].reshape(-1), grad.reshape(-1))
                        for name, grad in inner.single.items()
                    ]
                ).sum()
            )
            mixed = mixed_from_slopes(
                task.problem, task.alpha, inner.batch, losses=inner.losses, slopes=slope.reshape(1)
            )
        share = record.errors.lam  # of lam, and so of gbar, from the later steps' products
        if inner.graph is not None and (lam is not None or mixed is None):
            with advice(DERIVATIVES.name_of(self.derivative)):
                product = inner.graph.product(gbar, hvp=lam is not None)
        elif lam is not None:
            differs = self._differs
            rounded = self.keep == "bf16"
            gradient = Gradient(grads, inner.alpha, inner.loss, record.rounding, rounded) if differs else None
            product = take_product(
                task.problem,
                params,
                task.alpha,
                **at,
                derivative=self.derivative,
                gradient=gradient,
                with_alpha=True,
                added_to={name: cotangents.param for name, cotangents in lam.items()} if differs else None,
            )
        if product is not None:
            for name, cotangents in (lam or {}).items():
                cotangents.param.add_(product.hvp[name])
            record.errors.lam += product.hvp_error
            mixed = mixed or Mixed(product.alpha, product.slopes, product.alpha_error)
            mixed = mixed._replace(forward=product.forward, backward=product.backward)
        elif mixed is None:
            mixed = self._mixed_alone(task, inner, params, grads=grads, rounding=record.rounding, **at)
        record.errors.alpha += mixed.error
        record.errors.alpha += shared_error(
            task.problem, task.alpha, inner.batch, losses=inner.losses, mixed=mixed, share=share
        )
        return mixed

    def _mixed_alone(
        self,
        task: WindowTask,
        inner: InnerGradient,
        params: dict[str, Tensor],
        *,
        grads: dict[str, Tensor],
        rounding: float | None,
        **at: Any,
    ) -> Mixed:
        if not isinstance(self.derivative, Difference):
            return exact_mixed(task.problem, params, task.alpha, **at, derivative=self.derivative)
        return finite_difference(
            task.problem,
            params,
            task.alpha,
            **at,
            radius=self.derivative.radius,
            scale=scale_of(
                at["direction"], grads, loss=inner.loss, exact=not task.problem.has_unweighted_loss
            ),
            norm=used_norm(at["direction"], grads) if self.derivative.radius else None,
            alpha_grad=inner.alpha,
            rounding=rounding,
            one_sided=self.derivative.one_sided,
        )


@dataclass
class Errors:
    """What the differences of a window were off by, estimated."""

    alpha: float = 0.0
    """|error| of alpha_grad."""
    lam: float = 0.0
    """Relative error of lam."""
    kept: float = 0.0
    """|error| of alpha_grad from gradients that were kept in bf16."""


@dataclass
class Record:
    """Steps that were taken, for `Adjoint.sweep` to go back through."""

    trajectory: Trajectory
    first: int
    """The number of the first of them in the window."""
    cold: ColdStart
    settings: SettingGradients
    steps: list[_Step] = field(default_factory=list)
    forward: int = 0
    """Forward passes that they took."""
    rounding: float | None = None
    """Of the narrowest dtype in which their losses were computed, where differences are taken."""
    errors: Errors = field(default_factory=Errors)


class _Step:
    """What is kept of one inner step: its gradient in the store, the rest in memory."""

    def __init__(self, inner: InnerGradient, store: Store) -> None:
        self._grads = None if inner.grads is None else store.keep(inner.grads)
        self._single = None if inner.single is None else store.keep(inner.single)
        self.inner = replace(inner, grads=None, single=None)

    def grads(self) -> dict[str, Tensor]:
        """g_t by name."""
        if self._grads is not None:
            return self._grads.load()
        assert self._single is not None
        return replace(self.inner, single=self._single.load()).all_grads()

    def load(self) -> InnerGradient:
        """All of it, once."""
        grads, single = (None if kept is None else kept.load() for kept in (self._grads, self._single))
        for kept in (self._grads, self._single):
            if kept is not None:
                kept.drop()
        return replace(self.inner, grads=grads, single=single)


def _through_step(
    optimizer: InnerOptimizer,
    point: Point,
    grads: dict[str, Tensor],
    *,
    lam: dict[str, Cotangents],
    cold: ColdStart,
    settings: SettingGradients,
) -> dict[str, Tensor]:
    """Send lam (in place) backwards through the step taken from `point`; returns gbar_t."""
    clip = optimizer.clip_of(grads)
    gbar, state = {}, point.state
    for name, raw in grads.items():
        grad = raw if clip is None else clip.clipped(raw)
        taken = TensorStep(name, state.step, grad, moments_at(state, name), point.params[name])
        after = lam[name]
        settings.add(after, taken)
        gbar[name], lam[name] = optimizer.vjp(after, taken)
        cold.see(after, taken, gbar[name])
    return gbar if clip is None else clip.vjp(gbar, grads)
