"""DoGE: a domain's weight grows if its gradient points in a direction that lowers the meta loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.hypergrad import Estimator, WindowResult
from dreamprm.hypergrad.base import WindowTask
from dreamprm.hypergrad.differences import Scale, scale_of
from dreamprm.hypergrad.gradients import leaves
from dreamprm.hypergrad.micro_batches import whole_losses
from dreamprm.hypergrad.mixed_difference import finite_difference
from dreamprm.hypergrad.plain_steps import plain_steps
from dreamprm.hypergrad.sharding import params_norm, total
from dreamprm.hypergrad.window_passes import outer_gradient
from dreamprm.models.weights import DOMAIN_WEIGHTS
from dreamprm.training.baselines.base import UpperLevel, Weighting
from dreamprm.training.baselines.exponentiated import lr_setting, smoothing_setting
from dreamprm.training.baselines.moving_weights import (
    DomainMeans,
    batches_setting,
    chosen_batches,
    moving_weights,
)

SLOPES = ("finite_difference", "exact")


@dataclass(frozen=True)
class DoGE(Weighting):
    """After each window w_k <- w_k exp(lr W_k), normalised; W_k = <grad L_k, grad L_meta> / |grad L_meta|^2.

    Use it as the cheap reference for learned weights: it sees the same meta set, but only through the
    alignment of gradients at one point. It ignores AdamW and the T steps in between, which `first_order` and
    the exact estimators take into account.

    Args:
        lr: step size of the weights; > 0. It corresponds to the paper's eta / mu.
        smoothing: share of uniform weights mixed in, in [0, 1].
        normalise: divide by |grad L_meta|^2: W_k is then the fraction of a descent step on the meta loss that
            a step on L_k achieves, whatever the scale of the params; it is 1 for the meta set itself. False:
            the plain inner product, as in the paper.
        batches: alignment on the window's "last" batch, or on "all" of them. If micro-batches hold a single
            domain (sampling=single), use "all".
        slopes: how <grad L_k, grad L_meta> is computed: "finite_difference", three forward passes per batch;
            or "exact", one backward pass per domain of a batch.

    Raises:
        ValueError: a value that is not allowed.

    Source: Fan et al., arXiv 2310.15393, with a target separate from the training domains (its out-of-domain
    form). Departures: both gradients are taken at the window's end, once per window; `normalise`; the paper
    averages the weights over the run and trains a larger model with the average. Here the run with moving
    weights is the result, as in DreamPRM; for the second stage, give the finished run to the baseline
    fixed_weights, with take=mean.
    """

    lr: float = lr_setting(0.02)
    smoothing: float = smoothing_setting(1e-3)
    normalise: bool = setting(
        True, "divide the alignments by |grad L_meta|^2, so that the scale of the params does not matter"
    )
    batches: str = batches_setting()
    slopes: str = setting(
        "finite_difference",
        "how <grad L_k, grad L_meta> is computed: with three forward passes per batch, or exactly with one "
        "backward pass per domain of a batch",
        choices=SLOPES,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """Weights that start uniform and are moved by the alignments."""
        del seed, prm
        estimator = GradientAlignment(self.normalise, self.batches, self.slopes)
        return moving_weights(domains, estimator, lr=self.lr, smoothing=self.smoothing)


@dataclass(frozen=True)
class GradientAlignment(Estimator):
    """alpha_grad_k = -<grad L_k, grad L_meta> (/ |grad L_meta|^2) at phi_T, averaged over batches.

    Reads `domain_weights` (K,) and `batch["domains"]` (n,), the domains of the batch's n losses. For the
    settings see `DoGE`.
    """

    normalise: bool = True
    batches: str = "all"
    slopes: str = "finite_difference"

    @property
    def gives_gradient(self) -> bool:
        """False: what moves the weights is a rule's step, which may be 0."""
        return False

    def _run(self, task: WindowTask) -> WindowResult:
        steps = plain_steps(task, with_rounding=self.slopes == "finite_difference")
        outer = outer_gradient(task, steps.params)
        norm = float(params_norm(outer.params.values()))
        # along its own gradient the outer loss says how far a difference may move
        moves = scale_of(outer.params, outer.params, loss=outer.loss, exact=False)
        aligned = DomainMeans(task.alpha[DOMAIN_WEIGHTS])
        chosen = chosen_batches(task, self.batches)
        passes = [len(steps.losses) + 1, len(steps.losses) + 1]
        for batch in chosen:
            slopes, forward, backward = self._slopes(
                task, steps.params, batch, outer.params, moves, steps.rounding
            )
            passes = [passes[0] + forward, passes[1] + backward]
            aligned.add(batch.batch["domains"], slopes)
        # At a stationary point of the meta loss the slopes are 0, and so is the quotient.
        scale = 1.0 / norm**2 if self.normalise and norm > 0 else 1.0
        return WindowResult(
            params=steps.params,
            state=steps.state,
            alpha_grad={DOMAIN_WEIGHTS: -scale * aligned.means()},
            inner_losses=steps.losses,
            outer_loss=outer.loss,
            stats={"forward": passes[0], "backward": passes[1]},
        )

    def _slopes(
        self,
        task: WindowTask,
        params: dict[str, Tensor],
        batch: Any,
        direction: dict[str, Tensor],
        scale: Scale,
        rounding: float | None,
    ) -> tuple[Tensor, int, int]:
        """`(n,)`: <grad L_i, direction>; and the forward and backward passes taken for it."""
        if self.slopes == "finite_difference":
            mixed = finite_difference(
                task.problem,
                params,
                task.alpha,
                batch=batch,
                direction=direction,
                radius=None,
                losses=None,
                scale=scale,
                rounding=rounding,
            )
            assert mixed.slopes is not None, "the training problem is structured"
            return mixed.slopes, mixed.forward, mixed.backward
        variables, backward = leaves(params), 0
        toward = list(direction.values())
        parts, each = task.problem.parts(batch), []
        for part in parts:
            slopes: list[Any] = []
            for loss in task.problem.inner_losses(variables, part.batch):
                # the graph is kept for the other losses
                grads = torch.autograd.grad(
                    loss, list(variables.values()), retain_graph=True, materialize_grads=True
                )
                slopes.append(sum((grad * along).sum() for grad, along in zip(grads, toward, strict=True)))
            each.append(torch.stack(slopes))
            backward += len(slopes)
        return total(whole_losses(parts, each)), 1, backward
