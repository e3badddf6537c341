"""The one-step estimate of the public DreamPRM code, and SAMA's form of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dreamprm.hypergrad.base import Estimator, WindowResult, WindowTask
from dreamprm.hypergrad.derivatives import radius_setting
from dreamprm.hypergrad.differences import report_error, scale_of, used_norm
from dreamprm.hypergrad.inner_optimizer import Cotangents, InnerOptimizer, TensorStep, moments_at
from dreamprm.hypergrad.linear_solver import Vector
from dreamprm.hypergrad.mixed_difference import finite_difference
from dreamprm.hypergrad.plain_steps import PlainSteps, plain_steps
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.window_passes import outer_gradient

POINTS = ("after", "before")
ADVICE = "take float64, or first_order with an exact kind; leave radius out where one was given"


@dataclass(frozen=True)
class FiniteDifference(Estimator):
    """alpha_grad = dL_meta/dalpha - scale (grad_alpha L(phi + h v) - grad_alpha L(phi - h v)) / 2h.

    v = dL_meta/dphi at phi_T, h = radius / |v|, L on the window's last batch: the derivative of one plain
    gradient step phi - scale grad_phi L on that batch, the other T - 1 steps and AdamW left out. Use it for
    parity with the public DreamPRM in ablations. Not as an estimate: AdamW divides each entry by its own
    root, so the sign itself can be wrong (cosines of -0.85 and -0.21 to the exact gradient were measured on
    small PRMs); `first_order` costs about the same and has none of these faults.

    The public code is DARTS as Betty has it (`type="darts"`); what is kept and what is not:

    - kept: phi = phi_T and the batch of the last step (`point="after"`); radius 0.01 in float32; v without
      AdamW's scaling.
    - scale: DARTS multiplies by the inner learning rate, Betty leaves it out (scale=1). Here the last step's
      learning rate is the default, so that the estimate compares with the other estimators'; scale=1.0 gives
      Betty's. An upper AdamW hardly sees the difference, except where L_meta depends on alpha directly or the
      gradients come near its eps (1e-8), as with a learning rate of 5e-7 they do.
    - not: Betty adds the perturbation to the parameters and takes it off again, which leaves rounding behind
      (in bf16, most of it). Here the perturbed parameters are new tensors.
    - not: weights computed from losses see the losses at phi, not at the perturbed points, as in all
      estimators.

    preconditioner="adamw" takes for -scale v the derivative of L_meta in the last step's gradient, through
    AdamW's step (`AdamW.vjp`) and its clipping in closed form: SAMA. With another inner optimizer it is the
    derivative through the step which that one took. Betty's `sama` differs by leaving out the bias
    corrections, and by a radius of 1. With it and point="before", phi_{T-1}, where that gradient was
    taken, the result is the exact derivative of the window's last step: for T = 1, that of `unrolled` up to
    the difference's error.

    Cost in addition to the window's own: of structured problems three forward passes (two, and the losses at
    phi); in plain form two forward and two backward, each evaluation being differentiated in alpha.
    point="before" holds one more copy of the params and moments.

    Args:
        preconditioner: None or "adamw", as above.
        point: "after" the last step (phi_T) or "before" it (phi_{T-1}, as in DARTS itself).
        scale: as above; None for the last step's learning rate. Not together with a preconditioner, which
            has the learning rate in it.
        radius: norm of the perturbation; None moves the loss by a set share of itself (differences.py).

    Raises:
        ValueError: an unknown preconditioner or point, a radius or scale that is not positive, or a scale
            beside a preconditioner.

    Source: DARTS, arXiv 1806.09055; Betty (leopard-ai/betty, hypergradient/darts.py and sama.py); SAMA, arXiv
    2310.05674; DreamPRM, arXiv 2505.20241.
    """

    preconditioner: str | None = setting(
        None,
        "the derivative through the step that AdamW, or the inner optimizer at hand, took last (SAMA); None: "
        "through a plain gradient step",
        choices=("adamw",),
    )
    point: str = setting(
        "after", "the difference at the params after the last step, or before", choices=POINTS
    )
    scale: float | None = setting(
        None,
        "factor of the estimate; None: the last step's learning rate (which a preconditioner has in it)",
        above=0,
        advice="use None for the learning rate",
        when={"preconditioner": (None,)},
    )
    radius: float | None = radius_setting()

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def differentiates_steps(self) -> bool:
        """With a preconditioner, the last one."""
        return self.preconditioner is not None

    def _run(self, task: WindowTask) -> WindowResult:
        precondition = self.preconditioner is not None
        keep_before = self.point == "before" or (
            precondition and not {"param", "start"}.isdisjoint(task.optimizer.vjp_reads)
        )
        steps = plain_steps(task, keep_before=keep_before, keep_grads=precondition, with_rounding=True)
        outer = outer_gradient(task, steps.params)
        if precondition:
            direction, factor = gradient_cotangent(task.optimizer, steps, lam=outer.params), 1.0
        else:
            direction = outer.params
            factor = -(self.scale or task.optimizer.learning_rate(steps.state.step - 1))
        structured = task.problem.structured
        before = self.point == "before" and steps.before is not None
        if precondition:
            assert steps.grads is not None
            exact = before and not task.problem.has_unweighted_loss
            scale = scale_of(direction, steps.grads, loss=steps.losses[-1], exact=exact)
        else:  # the inner gradient at phi_T is not known; along its own gradient the outer loss says how far
            scale = scale_of(direction, direction, loss=outer.loss, exact=False)
        along = finite_difference(
            task.problem,
            steps.before.params if before and steps.before else steps.params,
            task.alpha,
            batch=task.inner_batches[-1],
            direction=direction,
            radius=self.radius,
            losses=None,
            scale=scale,
            rounding=steps.rounding,
            # with v = 0 the preconditioned direction is largest in entries that the batch does not use; the
            # gradient that tells them is kept for it alone
            norm=used_norm(direction, steps.grads) if self.radius else None,
        )
        window = WindowResult(
            params=steps.params,
            state=steps.state,
            alpha_grad={name: grad + factor * along.alpha[name] for name, grad in outer.alpha.items()},
            inner_losses=steps.losses,
            outer_loss=outer.loss,
            # structured: one pass for the losses; plain: each evaluation is differentiated in alpha
            stats={
                "forward": steps.forward + 1 + along.forward,
                "backward": len(steps.losses) + 1 + (along.backward if structured else along.forward),
            },
        )
        report_error(window, abs(factor) * along.error, advice=ADVICE)
        return window


@torch.no_grad()
def gradient_cotangent(optimizer: InnerOptimizer, steps: PlainSteps, *, lam: Vector) -> Vector:
    """d L_meta / d g of the last step, from lam = d L_meta / d phi_T."""
    raw, state = steps.grads, steps.state
    assert raw is not None
    clip = optimizer.clip_of(raw)
    gbar = {}
    for name, grad in raw.items():
        taken = TensorStep(
            name,
            state.step - 1,
            grad if clip is None else clip.clipped(grad),
            start=None if steps.before is None else moments_at(steps.before.state, name),
            param=None if steps.before is None else steps.before.params[name],
            end=moments_at(state, name),
        )
        gbar[name], _ = optimizer.vjp(Cotangents(lam[name]), taken)
    return gbar if clip is None else clip.vjp(gbar, raw)
