"""The penalty (value-function) estimate: first-order gradients at two points, no second derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Estimator, Status, WindowResult, WindowTask
from dreamprm.hypergrad.gradients import gradient_list, leaves
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import InnerLevel
from dreamprm.hypergrad.plain_steps import plain_steps
from dreamprm.hypergrad.settings import check_settings, setting
from dreamprm.hypergrad.window_passes import outer_gradient


@dataclass(frozen=True)
class Penalty(Estimator):
    """alpha_grad = dL_meta/dalpha(z) + multiplier (grad_alpha L(z) - grad_alpha L(y)).

        y_0 = z_0 = phi_T
        y_{k+1} = y_k - step grad_phi L(y_k)
        z_{k+1} = z_k - step grad_phi (L + L_meta / multiplier)(z_k),          k < steps

    The value-function form of the bilevel problem: min over alpha and z of L_meta(z) + multiplier (L(z) - min
    L), differentiated in alpha where z and y have come after `steps` gradient steps. Like the implicit
    estimators it asks what alpha does to the *minimiser* of the inner loss, and like `first_order` it takes
    first-order gradients alone, so that any kernel, autocast and sharding work. L is the inner loss on the
    window's last batch.

    Its bias, in full: for multiplier -> infinity it is -(mixed derivative) of a Neumann series with `steps`
    terms of length `step` at phi_T, where phi_T is stationary (with one step, `finite_difference` with that
    scale). A finite multiplier adds an error of O(1 / multiplier), by the curvature of both losses; the
    difference of the two gradients loses about multiplier times the rounding of the losses. There is no
    variance beyond that of the batch. Where phi_T is far from a minimum, y moves on as z does, and the
    estimate is of a window of `steps` further plain gradient steps: it does not see AdamW.

    Use it for parity with first-order bilevel methods (F2SA, ScaleBiO) and where second derivatives are out
    of reach but the inner problem is solved. Not for short windows of fine-tuning.

    Cost in addition to the window's own: 2 `steps` inner and `steps` outer gradients, and two evaluations.
    Memory: y and z, and one gradient.

    Args:
        multiplier: of the penalty (lambda, F2SA's; ScaleBiO's alpha).
        steps: gradient steps of y and z.
        step: their length, in units of 1 / curvature; less than 2 / curvature converges.

    Raises:
        ValueError: a setting out of its range.

    Source: Kwon et al. (F2SA), arXiv 2301.10945; Pan et al. (ScaleBiO), arXiv 2406.19976. Departures: y and z
    start from phi_T in each window rather than being carried along, and multiplier does not grow.
    """

    multiplier: float = setting(
        10.0,
        "penalty: weight of the inner problem against the outer loss",
        above=0,
    )
    steps: int = setting(10, "penalty: gradient steps of either point", minimum=1)
    step: float = setting(
        0.1, "penalty: their length, in units of 1 / curvature", above=0, advice="less than 2 / curvature"
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def _run(self, task: WindowTask) -> WindowResult:
        trained = plain_steps(task)
        outer = outer_gradient(task, trained.params)
        level = InnerLevel(
            task.problem, trained.params, task.alpha, batch=task.inner_batches[-1], losses=None
        )
        y, z = dict(trained.params), dict(trained.params)
        at_z, objectives = outer, list[Tensor]()
        for k in range(self.steps):
            loss, grads = self._inner(level, z)
            if k > 0:
                at_z = outer_gradient(task, z)
            objectives.append(loss + at_z.loss / self.multiplier)
            for name, grad in grads.items():
                grads[name] = grad + at_z.params[name] / self.multiplier
            y, z = _moved(y, self._inner(level, y)[1], self.step), _moved(z, grads, self.step)
        at_z = outer_gradient(task, z)
        objectives.append(self._inner(level, z)[0] + at_z.loss / self.multiplier)
        upper = [a - b for a, b in zip(_upper_grads(level, z), _upper_grads(level, y))]
        mixed = level.mixed([self.multiplier * one for one in upper])
        plain, inner_passes = not task.problem.structured, 2 * self.steps + 1
        window = WindowResult(
            params=trained.params,
            state=trained.state,
            alpha_grad={name: at_z.alpha[name] + mixed.alpha[name] for name in task.alpha},
            inner_losses=trained.losses,
            outer_loss=outer.loss,
            stats={
                "forward": trained.forward + inner_passes + self.steps + 1 + 2 + (0 if plain else 1),
                "backward": len(trained.losses) + inner_passes + self.steps + 1 + (2 if plain else 0),
            },
        )
        first, last = float(objectives[0]), float(objectives[-1])
        # where training itself failed, run_window says where
        if math.isfinite(first) and not last <= first + 1e-6 * abs(first):
            window.status = Status.diverged
            window.message = (
                f"the penalised steps diverge: L + L_meta / multiplier went from {first:.4g} to {last:.4g} "
                f"in {self.steps} steps; lower step (now {self.step:g}; below 2 / curvature)"
            )
            window.alpha_grad = {
                name: torch.full_like(grad, torch.nan) for name, grad in window.alpha_grad.items()
            }
        return window

    def _inner(self, level: InnerLevel, params: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        phi, values = leaves(params), list[Tensor]()

        def gradient_of(loss: Tensor) -> list[Tensor]:
            values.append(loss.detach())
            return gradient_list(loss, list(phi.values()))

        grads = summed(gradient_of(loss(phi)) for loss in level.terms())
        return torch.stack(values).sum(), dict(zip(phi, grads))


def _moved(params: Mapping[str, Tensor], grads: Mapping[str, Tensor], step: float) -> dict[str, Tensor]:
    return {name: p - step * grads[name] for name, p in params.items()}


def _upper_grads(level: InnerLevel, params: Mapping[str, Tensor]) -> list[Tensor]:
    """dL/d upper at these params: of the part that alpha enters."""
    upper = list(level.upper.values())
    return summed(gradient_list(loss(params), upper) for loss in level.terms(weighted_only=True))
