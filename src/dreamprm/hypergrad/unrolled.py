"""The reference: reverse mode through T unrolled optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchopt
from torch import Tensor
from torchopt.transform.scale_by_adam import ScaleByAdamState

from dreamprm.hypergrad.adamw import AdamW, AdamWState
from dreamprm.hypergrad.base import Estimator, WindowResult, WindowTask
from dreamprm.hypergrad.further_gradients import (
    WRT,
    at_step,
    setting_tensors,
    settings_among,
    shaped_decay,
    shaped_lr,
)
from dreamprm.hypergrad.gradients import gradient_list, inner_gradient_list, leaves, require_graph
from dreamprm.hypergrad.inner_optimizer import (
    Cotangents,
    InnerOptimizer,
    OptimizerState,
    SettingTensors,
    TensorStep,
    moments_at,
)
from dreamprm.hypergrad.torch_errors import advice


@dataclass(frozen=True)
class Unrolled(Estimator):
    """alpha_grad = d/dalpha L_meta(phi_T(alpha), alpha), exact, by autograd through the steps.

    AdamW's are those of `torchopt.adamw`, others those of `InnerOptimizer.differentiable_step`, as AdamW's
    own are where the gradient in its settings is asked for.

    Use it as the reference, and wherever it fits. Not for large models: the graphs of all T steps are alive
    at once (memory grows with T), and gradients of gradients exclude fused attention kernels.

    Where a second moment is exactly 0 (rows of an embedding that no batch has used), the derivative of its
    root is taken as 0 (torchopt alone gives 0 * inf = NaN). torchopt's `eps_root` does it, set to the
    smallest normal number of the dtype: the values keep their bits for eps >= 1e-8, the derivative becomes
        finite, times 0.

    Departures from plain torchopt calls: the step count is float64, as with torchopt's int64 count the bias
    correction 1 - b2^t is a float32 number, relatively off by up to 3e-5; the learning rate of each step is
    read from `AdamW.learning_rate` at the true step, so that schedules persist over windows.

    Raises:
        NotImplementedError: in a window, where an operation of the model has no second derivative.

    Source: DreamPRM, arXiv 2505.20241 (T = 5); torchopt 0.7.3.
    """

    @property
    def needs_second_order(self) -> bool:
        """True: the inner gradients are differentiated again."""
        return True

    @property
    def gives(self) -> tuple[str, ...]:
        """All of them."""
        return WRT

    @property
    def differentiates_steps(self) -> bool:
        """True."""
        return True

    @property
    def evaluates_parts(self) -> bool:
        """False: the graph of every step is held anyway, over whole batches."""
        return False

    def _run(self, task: WindowTask) -> WindowResult:
        with advice("unrolled"):
            return self._run_graph(task)

    def _run_graph(self, task: WindowTask) -> WindowResult:
        names, first = list(task.params), task.state.step
        alpha, start, losses = leaves(task.alpha), leaves(task.params), []
        rates, decays = setting_tensors(
            task.optimizer,
            task.wrt,
            steps=range(first, first + len(task.inner_batches)),
            names=names,
        )
        params, state = start, task.state
        for t, batch in enumerate(task.inner_batches):
            loss = task.problem.inner_loss(params, alpha, batch)
            grads = dict(zip(params, inner_gradient_list(loss, params, create_graph=True)))
            settings = at_step(rates, decays, t=t)
            if settings is not None and t == 0:
                _check_settings_enter(task, grads)
            params, state = _differentiable_step(
                task.optimizer, params, grads, state=state, settings=settings
            )
            losses.append(loss.detach())
        outer_loss = task.problem.outer_loss(params, alpha, task.outer_batch)
        require_graph(outer_loss, name="outer_loss")
        params0 = list(start.values()) if "params0" in task.wrt else []
        found = iter(gradient_list(outer_loss, [*alpha.values(), *rates, *decays.values(), *params0]))
        return WindowResult(
            alpha_grad={name: next(found) for name in alpha},
            lr_grad=shaped_lr(task.optimizer, [next(found) for _ in rates]) if rates else None,
            weight_decay_grad=shaped_decay(task.optimizer, {name: next(found) for name in decays})
            if decays
            else None,
            params0_grad=dict(zip(start, found)) if "params0" in task.wrt else None,
            params={name: params[name].detach() for name in names},
            state=task.optimizer.make_state(
                state.step,
                {
                    kind: {name: moments[name].detach() for name in names if name in moments}
                    for kind, moments in state.moments.items()
                },
            ),
            inner_losses=torch.stack(losses),
            outer_loss=outer_loss.detach(),
            # the backward pass through an inner step passes twice over its forward and its gradient
            stats={"forward": len(losses) + 1, "backward": 3 * len(losses) + 1},
        )


def _check_settings_enter(task: WindowTask, grads: dict[str, Tensor]) -> None:
    """Refuse an optimizer whose step is cut off from a setting, whose gradient would be 0 unseen."""
    name = min(task.params, key=lambda name: task.params[name].numel())
    param, state = task.params[name], task.state
    taken = TensorStep(name, state.step, grads[name].detach(), moments_at(state, name), param)
    task.optimizer.settings_vjp(Cotangents(param), taken, settings_among(task.wrt))


def _differentiable_step(
    optimizer: InnerOptimizer,
    params: dict[str, Tensor],
    grads: dict[str, Tensor],
    *,
    state: OptimizerState,
    settings: SettingTensors | None,
) -> tuple[dict[str, Tensor], OptimizerState]:
    # torchopt takes numbers as settings, and has AdamW alone of ours
    if type(optimizer) is AdamW and settings is None:
        return torchopt_step(optimizer, params, grads, state=state)
    return optimizer.differentiable_step(params, grads, state=state, settings=settings)


def torchopt_step(
    optimizer: AdamW, params: dict[str, Tensor], grads: dict[str, Tensor], *, state: OptimizerState
) -> tuple[dict[str, Tensor], AdamWState]:
    """One differentiable AdamW step by torchopt, from our state and back into it."""
    grads, _ = optimizer.clip(grads)
    # torchopt's own mask is broken in 0.7.3: parameters of one weight decay make one call
    groups: dict[float, list[str]] = {}
    for name in params:
        groups.setdefault(optimizer.decay(name), []).append(name)
    new: dict[str, Tensor] = {}
    exp_avg: dict[str, Tensor] = {}
    exp_avg_sq: dict[str, Tensor] = {}
    for decay, names in groups.items():
        phi = [params[name] for name in names]
        transform = torchopt.adamw(
            lr=optimizer.learning_rate(state.step),
            betas=optimizer.betas,
            eps=optimizer.eps,
            eps_root=max(optimizer.eps_root, *(torch.finfo(p.dtype).tiny for p in phi)),
            weight_decay=decay,
        )
        moments = ScaleByAdamState(
            mu=[state.moments["exp_avg"][name] for name in names],
            nu=[state.moments["exp_avg_sq"][name] for name in names],
            count=[_count(p, step=state.step) for p in phi],
        )
        # init on empty tensors: only the layout of the chained state is wanted, no second set of moments
        layout = transform.init([p.new_empty(0) for p in phi])
        chained = tuple(moments if isinstance(part, ScaleByAdamState) else part for part in layout)
        updates, chained = transform.update(
            [grads[name] for name in names], chained, params=phi, inplace=False
        )
        new.update(zip(names, torchopt.apply_updates(phi, updates, inplace=False)))
        (moments,) = (part for part in chained if isinstance(part, ScaleByAdamState))
        exp_avg.update(zip(names, moments.mu))
        exp_avg_sq.update(zip(names, moments.nu))
    return new, AdamWState(step=state.step + 1, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)


def _count(param: Tensor, *, step: int) -> Tensor:
    # a 0-dimensional float64 count would promote a 0-dimensional float32 parameter
    dtype = torch.float64 if param.ndim else param.dtype
    return torch.tensor(step, dtype=dtype, device=param.device)
