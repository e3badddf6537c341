"""The implicit gradient at the window's last point, with a linear solver as a part."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.adamw import AdamW
from dreamprm.hypergrad.base import Estimator, Status, WindowResult, WindowTask
from dreamprm.hypergrad.cg import ConjugateGradient
from dreamprm.hypergrad.derivatives import DERIVATIVES, OLD_NAMES, Derivative, Difference, DoubleBackward
from dreamprm.hypergrad.differences import EXACT_ADVICE, narrowest, report_error, scale_of
from dreamprm.hypergrad.inner_hessian import InnerHessian
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.linear_solver import LinearSolver, Vector, norm
from dreamprm.hypergrad.neumann import NeumannSeries
from dreamprm.hypergrad.plain_steps import plain_steps
from dreamprm.hypergrad.registration import Registry
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.window_passes import OuterGradient, outer_gradient

SOLVERS: Registry[LinearSolver] = Registry(
    "solver",
    LinearSolver,
    {
        "neumann": NeumannSeries,
        "cg": ConjugateGradient,
    },
    group="dreamprm.solvers",
)
BATCHES = ("last", "all")


@dataclass(frozen=True)
class Implicit(Estimator):
    """alpha_grad = dL_meta/dalpha - (d^2 L/dalpha dphi) H^-1 dL_meta/dphi, H = d^2 L/dphi^2, at phi_T.

    The exact gradient of L_meta(phi*(alpha), alpha) where grad_phi L(phi*, alpha) = 0: it asks what alpha
    does to the *minimiser* of the inner loss, however many steps away that is; the other estimators ask what
    it does to the T steps taken. Use it where the inner problem is solved (near) to convergence between upper
    steps and its minimum is well conditioned: small models, strong regularisation. Not for short windows of
    fine-tuning, where the minimiser is far: the two questions then have different answers, and H is not
    positive definite.

    What is differentiated is stationarity of L itself. AdamW's learning rate, moments and gradient clipping
    do not enter. Nor does its decoupled weight decay, which holds AdamW's own fixed point off the minimiser
    (at a place that depends on its second moments): put an L2 term into the inner loss where the decay
    matters, or set weight_decay=0.

    Where the solver reports divergence there is no estimate: alpha_grad is NaN and the message names the
    setting to change. stats has `iterations` of the solver, `residual` |b - H x| / |b| of the system asked
    for, and `damped_residual` with H + damping I. Where `residual` is above the solver's `max_residual`, the
    status is `not_converged` and alpha_grad the estimate nonetheless.

    Args:
        solver: of H x = dL_meta/dphi; `NeumannSeries` or `ConjugateGradient` with settings of their own. In
            `build_estimator` a name with those settings next to it: implicit, solver=cg, damping=0.1; or as a
            preset: cg, damping=0.1.
        batches: H and the mixed derivative on the window's "last" batch, or the mean over "all" of its
            batches (less noise, T times the passes). Either way at phi_T.
        derivative: how the products with H and the mixed derivative are taken, see derivatives.py. Of
            `DoubleBackward`, the default, the graph is kept on one batch: as much memory as one step of
            `unrolled`. No solution is better than the products: in float32, on a Qwen2-VL language model of
            two layers, central differences are off by 3e-4 and one-sided ones by 4e-3.

    Raises:
        ValueError: an unknown batches, or a solver or derivative that is not one.
        NotImplementedError: in a window, where an operation of the model lacks a derivative that is taken.

    Source: Pedregosa, arXiv 1602.02355; Lorraine et al., arXiv 1911.02590.
    """

    solver: LinearSolver = setting(ConjugateGradient(), "of the linear system", parts=SOLVERS)
    batches: str = setting(
        "last", "the Hessian and the mixed derivative on the window's last batch, or on all", choices=BATCHES
    )
    derivative: Derivative = setting(
        DoubleBackward(),
        "how products with the Hessian are taken, as in adjoint",
        parts=DERIVATIVES,
        formerly=OLD_NAMES,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def _run(self, task: WindowTask) -> WindowResult:
        steps = plain_steps(task)
        outer = outer_gradient(task, steps.params)
        passes = len(steps.losses) + 1
        forward = steps.forward + 1
        window = WindowResult(
            params=steps.params,
            state=steps.state,
            alpha_grad={name: torch.full_like(a, math.nan) for name, a in task.alpha.items()},
            inner_losses=steps.losses,
            outer_loss=outer.loss,
            stats={
                "forward": forward,
                "backward": passes,
                "iterations": 0,
                "residual": math.nan,
                "damped_residual": math.nan,
            },
        )
        if not (math.isfinite(norm(steps.params)) and math.isfinite(norm(outer.params))):
            return window  # training itself failed; run_window says where
        hessian = InnerHessian(
            task.problem,
            steps.params,
            task.alpha,
            derivative=self.derivative,
            length=_first_length(outer, self.derivative),
            batches=task.inner_batches if self.batches == "all" else task.inner_batches[-1:],
        )
        solution = self.solver.solve(
            hessian.product,
            outer.params,
            preconditioner=lambda: adamw_preconditioner(task.optimizer, steps.state),
        )
        window.status, window.message = solution.status, solution.message
        if solution.status is not Status.diverged:
            mixed = hessian.mixed(solution.value)
            window.alpha_grad = {name: outer.alpha[name] - mixed[name] for name in task.alpha}
            error = hessian.mixed_error
        else:
            error = 0.0
        window.stats = {
            "forward": forward + hessian.forward,
            "backward": passes + hessian.backward,
            "iterations": solution.iterations,
            "residual": solution.residual,
            "damped_residual": solution.residual
            if solution.damped_residual is None
            else solution.damped_residual,
        }
        report_error(window, error, advice=EXACT_ADVICE)
        return window


def _first_length(outer: OuterGradient, derivative: Derivative) -> float | None:
    """Norm of the first perturbation: the inner gradient may be 0, so the outer loss says how far."""
    if not isinstance(derivative, Difference):
        return None
    v = outer.params
    eps = torch.finfo(narrowest(v.values())).eps
    h = scale_of(v, v, loss=outer.loss, exact=False).step(eps, one_sided=derivative.one_sided)
    return None if h is None else h * norm(v)


def adamw_preconditioner(optimizer: InnerOptimizer, state: OptimizerState) -> Vector:
    """P = 1 / (sqrt(v / c2) + eps), by which AdamW's last step scaled its first moment; 0 where v = 0.

    Raises:
        ValueError: the inner optimizer is not AdamW.
    """
    if not isinstance(optimizer, AdamW):
        raise ValueError(
            "preconditioner=adamw takes AdamW's second moments, and the inner optimizer is "
            f"{type(optimizer).__name__}; leave it out"
        )
    _, c2 = optimizer.bias_corrections(state.step - 1)
    scale: dict[str, Tensor] = {}
    for name, v in state.moments["exp_avg_sq"].items():
        root = v.div(c2).add_(optimizer.eps_root).sqrt_().add_(optimizer.eps)
        scale[name] = root.reciprocal_().masked_fill_(v == 0, 0.0)
    return scale
