"""The adjoint recursion through AdamW without the Hessian term: a window at about the cost of plain
training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Estimator, WindowResult, WindowTask
from dreamprm.hypergrad.cold_start import ColdStart
from dreamprm.hypergrad.derivatives import DERIVATIVES, OLD_NAMES, CentralDifference, Derivative, Difference
from dreamprm.hypergrad.differences import EXACT_ADVICE, report_error, scale_from, scale_of, used_norm
from dreamprm.hypergrad.further_gradients import WRT, SettingGradients
from dreamprm.hypergrad.inner_optimizer import Cotangents, InnerOptimizer, TensorStep
from dreamprm.hypergrad.kept_steps import KeptStep, Start, keep_each, take_all
from dreamprm.hypergrad.mixed_derivative import Mixed, Seen, exact_mixed, mixed_from_slopes
from dreamprm.hypergrad.mixed_difference import finite_difference
from dreamprm.hypergrad.offload import Store, gradient_store, keep_setting, offload_setting, open_store
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.sharding import params_norm, total
from dreamprm.hypergrad.window_passes import inner_gradient, outer_gradient


@dataclass(frozen=True)
class FirstOrder(Estimator):
    """alpha_grad = dL_meta/dalpha + sum_t d/dalpha <gbar_t, grad_phi L(phi_t, alpha; B_t)>.

    gbar_t is the derivative of L_meta in the gradient g_t when lam = dL_meta/dphi is carried back through the
    T AdamW updates in closed form (`AdamW.vjp`) and the Hessian term lam += (d^2 L/dphi^2) gbar_t is left
    out.

    Use it where memory or time decide: only first-order gradients are taken, so fused attention and
    activation checkpointing work unchanged. The relative error against `unrolled` is O(lr T |H|); none for T
    = 1 and for inner losses linear in the params. Not where lr |H| is large: compare with `unrolled` first.
    It grows with the window: beyond some tens of steps the direction itself can be lost (cosine .99999 at
    T = 5, .71 at T = 20, .27 at T = 100 on a Llama of 1.87M parameters); take `adjoint` there.

    The mixed derivative uses the problem's structure. A structured problem with one loss in the batch (n = 1)
    needs no further pass: <gbar_t, grad L_1> is a dot product with the gradient at hand. All others take it
    by `derivative`:

    - `CentralDifference()`, the default: two forward passes a step; any kernel. Relative error on small
      Qwen2-VL language models in float32: 1e-4 to 3e-4.
    - `ForwardDifference()`: one forward pass a step; on the sandbox it agrees with the exact kinds to three
      digits (experiments/results/gradients.md). Not under bf16. Of problems in plain form it takes the
      central difference.
    - `ForwardMode()`: exact, about two forward passes of the losses.
    - `DoubleBackward()`: exact, a third backward pass.

    Memory in addition to the params and moments passed in, in multiples of the size of params: T gradients,
    as many again where an `unweighted_loss` is added to a single loss; phi_t of each step where `derivative`
    is used; phi_T with its moments 3 (steps in place of donated tensors need a copy of the start's moments
    instead, 2); lam 1; while stepping, the weighted gradient of a single loss 1. The sweep adds the 2 T
    moments of the largest tensor. `offload` puts away what is kept of the steps, the start's moments and,
    where `derivative` is used, gbar_t: what stays are phi_T with its moments, lam, and two gradients.
    `keep="bf16"` halves the T gradients of float32 params, and gbar_t, which takes their place.

    Args:
        derivative: how the mixed derivative is taken: as above, and derivatives.py for what each kind needs
            of the model. Where a difference without a radius is imprecise, other radii are tried, and then,
            of few losses in structured form, one backward pass for each; stats["error"] is the estimated
            relative error that differences leave in alpha_grad.
        offload: where the above is kept: "none" leaves it where it is; "cpu" in page-locked memory, for
            params on an accelerator; "disk" in a temporary file, for params in CPU memory.
        keep: "bf16" rounds the gradients that are kept for the way back, and gbar_t; params and moments are
            those of "full" to the bit. What that does to alpha_grad is estimated in stats["error"]: some 1e-5
            to 1e-4 of it, unless most of its sums cancel.

    Raises:
        ValueError: a setting is not one of the above.
        NotImplementedError: in a window, where an operation of the model lacks a derivative that is taken.

    Source: the bi-level problem of DreamPRM, arXiv 2505.20241; leaving the Hessian out as first-order MAML
    does, arXiv 1703.03400, but keeping AdamW's derivative.
    """

    derivative: Derivative = setting(
        CentralDifference(),
        "the mixed derivative where a batch holds several losses: by a central or a one-sided difference of "
        "losses, or exactly by forward-mode or second-order autograd",
        parts=DERIVATIVES,
        formerly=OLD_NAMES,
    )
    offload: str = offload_setting()
    keep: str = keep_setting()

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def differentiates_gradients(self) -> bool:
        """With `DoubleBackward`; forward mode differentiates the losses themselves."""
        return self.needs_second_order and not self.needs_forward_mode

    @property
    def gives(self) -> tuple[str, ...]:
        """All of them, without the Hessian term like alpha's."""
        return WRT

    @property
    def differentiates_steps(self) -> bool:
        """True."""
        return True

    def _run(self, task: WindowTask) -> WindowResult:
        with open_store(self.offload) as store:
            return self._run_with(task, store)

    def _run_with(self, task: WindowTask, store: Store) -> WindowResult:
        optimizer, params, state = task.optimizer, task.params, task.state
        settings = SettingGradients(optimizer, task.wrt, first=state.step)
        with_params = settings.wanted or "param" in optimizer.vjp_reads
        start = Start(params, state, store, with_params=with_params)
        gradients = gradient_store(store, self.keep)
        steps: list[KeptStep] = []
        for t, batch in enumerate(task.inner_batches):
            differs = isinstance(self.derivative, Difference)
            inner = inner_gradient(
                task, params, batch=batch, with_alpha=differs, with_rounding=differs and t == 0
            )
            grads = inner.all_grads()
            needs_point = inner.single is None
            point, clip = params if needs_point else None, optimizer.clip_of(grads)
            steps.append(KeptStep(inner, store, clip, point, gradients=gradients))
            # after the first step the tensors are ours to overwrite, unless the mixed derivative needs phi_t
            inplace = (task.donate or t > 0) and (not needs_point or store.copies(params))
            if inplace and t == 0:
                start.detach()
            params, state = optimizer.step(params, grads, state=state, inplace=inplace)
            del inner, grads  # not in memory during the next step

        outer = outer_gradient(task, params)
        alpha_grad, influences, error, kept = outer.alpha, [], 0.0, 0.0
        passes = [sum(step.inner.forward for step in steps) + 1, len(steps) + 1]
        cold = ColdStart(optimizer)
        _sweep(
            optimizer,
            start,
            steps=steps,
            lam=outer.params,
            gradients=gradients,
            cold=cold,
            settings=settings,
            norms=isinstance(self.derivative, Difference) and self.derivative.radius is not None,
            exact=not task.problem.has_unweighted_loss,
            rounded=self.keep == "bf16",
        )
        rounding, seen = steps[0].inner.rounding, None
        for step in steps:
            mixed = self._contract(task, step, rounding=rounding, seen=seen)
            seen = mixed.seen or seen
            error += mixed.error
            kept += step.rounding_error(task, mixed)
            passes = [passes[0] + mixed.forward, passes[1] + mixed.backward]
            alpha_grad = {name: grad + mixed.alpha[name] for name, grad in alpha_grad.items()}
            if mixed.slopes is not None:
                influences.append(mixed.slopes / mixed.slopes.numel())
        window = WindowResult(
            params=params,
            state=state,
            alpha_grad=alpha_grad,
            inner_losses=torch.stack([step.inner.loss for step in steps]),
            outer_loss=outer.loss,
            lr_grad=settings.lr,
            weight_decay_grad=settings.weight_decay(params),
            params0_grad=outer.params if "params0" in task.wrt else None,
            stats={
                "forward": passes[0],
                "backward": passes[1],
                **({"influences": influences} if task.problem.structured else {}),
            },
        )
        report_error(window, error, advice=EXACT_ADVICE, kept=kept)
        cold.report(window)
        return window

    def _contract(
        self, task: WindowTask, step: KeptStep, *, rounding: float | None, seen: Seen | None
    ) -> Mixed:
        """d/dalpha <gbar_t, grad_phi L(phi_t, alpha; B_t)>."""
        problem, alpha, batch, losses = task.problem, task.alpha, step.inner.batch, step.inner.losses
        if step.slope is not None:
            assert losses is not None
            return mixed_from_slopes(problem, alpha, batch, losses=losses, slopes=step.slope.reshape(1))
        assert step.params is not None
        params, gbar = step.params.load(), take_all(step.gbar)
        step.params.drop()
        kind = self.derivative
        if not isinstance(kind, Difference):
            return exact_mixed(
                problem, params, alpha, batch=batch, direction=gbar, losses=losses, derivative=kind
            )
        return finite_difference(
            problem,
            params,
            alpha,
            batch=batch,
            direction=gbar,
            norm=step.used_norm,
            radius=kind.radius,
            losses=losses,
            scale=step.scale,
            alpha_grad=step.inner.alpha,
            rounding=rounding,
            seen=seen,
            one_sided=kind.one_sided,
        )


@torch.no_grad()
def _sweep(
    optimizer: InnerOptimizer,
    start: Start,
    *,
    steps: list[KeptStep],
    lam: dict[str, Tensor],
    gradients: Store,
    cold: ColdStart,
    settings: SettingGradients,
    norms: bool,
    exact: bool,
    rounded: bool,
) -> None:
    """Carry lam back through all steps, in place, and fill in each step's gbar_t, or its slope.

    Without the Hessian term the recursion couples no two entries, so one tensor goes through the whole window
    at a time and the recomputed moments need T times one tensor. Clipping couples the tensors of a step, but
    only between g_t and what the optimizer made of it: it comes after. With `norms`, those of
    gbar_t are taken too; `exact` says whether g_t is the gradient of the weighted loss alone, `rounded`
    whether what is kept has errors to estimate.
    """
    slopes: list[list[Tensor]] = [[] for _ in steps]
    spreads: list[list[Tensor]] = [[] for _ in steps]
    used_norms: list[list[Tensor]] = [[] for _ in steps]
    for name in lam:
        singles = [step.loaded_single(name) for step in steps]  # once: they may be in other memory
        used = [step.used_grad(name, single) for step, single in zip(steps, singles, strict=True)]
        taken = _replay(optimizer, start, name=name, grads=used)
        del used
        cotangents = Cotangents(lam[name])
        for t in reversed(range(len(steps))):
            step, grad = steps[t], taken[-1].grad
            one, single, after = taken.pop(), singles.pop(), cotangents
            settings.add(after, one)
            gbar, cotangents = optimizer.vjp_inplace(after, one)
            cold.see(after, one, gbar)
            if rounded:
                step.note_rounding(gbar, grad, single)
            if step.clip is not None:
                step.gbar[name] = gradients.keep({name: gbar})
                continue
            if single is not None:
                slopes[t].append(torch.dot(gbar.reshape(-1), single.reshape(-1)))
            else:
                products = gbar * grad
                slopes[t].append(products.sum())
                spreads[t].append(torch.linalg.vector_norm(products))
                if norms or not exact:
                    used_norms[t].append(torch.linalg.vector_norm(gbar.masked_fill(grad == 0, 0.0)))
                step.drop_grad(name)
                step.gbar[name] = gradients.keep({name: gbar})
        lam[name] = cotangents.param
    for t, step in enumerate(steps):
        if step.clip is not None:
            grads = step.all_grads()
            clipped = step.clip.vjp(take_all(step.gbar), grads)
            if step.has_single:
                slopes[t] = [
                    torch.dot(gbar.reshape(-1), step.single(name).reshape(-1))
                    for name, gbar in clipped.items()
                ]
            else:
                step.scale = scale_of(clipped, grads, loss=step.inner.loss, exact=exact)
                step.used_norm = used_norm(clipped, grads) if norms else None
                del grads
                step.drop_grads()
                step.gbar = keep_each(gradients, clipped)
        elif not step.has_single:
            step.scale = scale_from(
                slopes[t],
                spreads[t],
                loss=step.inner.loss,
                exact=exact,
                lengths={} if exact else dict(zip(lam, used_norms[t])),
            )
            if norms:
                # with every used entry at 0 (a weight of exactly 0) all entries count
                step.used_norm = float(params_norm(used_norms[t])) or None
        if step.has_single:
            step.slope = total(torch.stack(slopes[t]).sum())


def _replay(optimizer: InnerOptimizer, start: Start, *, name: str, grads: list[Tensor]) -> list[TensorStep]:
    """The window's steps of one tensor."""
    param, moments = start.read(name)
    steps = []
    for t, grad in enumerate(grads):
        one = TensorStep(name, start.step + t, grad, moments, param)
        if not optimizer.vjp_reads and param is None:
            end: Mapping[str, Tensor] = {}
        elif param is None:
            end = optimizer.advance_moments(one)
        else:
            param, end = optimizer.update(param, grad, moments, optimizer.context(name, one.step))
        steps.append(one._replace(end=end))
        moments = dict(end)
    return steps
