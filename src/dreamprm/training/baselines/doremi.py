"""DoReMi: weights grow on the domains where the model is worse than a reference model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.hypergrad import Estimator, WindowResult
from dreamprm.hypergrad.base import WindowTask
from dreamprm.hypergrad.plain_steps import plain_steps
from dreamprm.hypergrad.window_passes import outer_value
from dreamprm.models.weights import DOMAIN_WEIGHTS
from dreamprm.training.baselines.base import UpperLevel, Weighting
from dreamprm.training.baselines.exponentiated import lr_setting, smoothing_setting
from dreamprm.training.baselines.moving_weights import (
    DomainMeans,
    batches_setting,
    chosen_batches,
    moving_weights,
)


@dataclass(frozen=True)
class DoReMi(Weighting):
    """After each window w_k <- w_k exp(lr max(0, L_k(phi) - L_k(reference))), then normalised and smoothed.

    Use it as the reference for weights learned without a meta set: it balances what is left to learn across
    the domains. A domain with noisy labels has a high loss under both models, and is not favoured for it.

    Args:
        reference: run folder of the vanilla PRM, which must be trained first; or a saved PRM (its model/).
        lr: step size of the weights; > 0. The paper's is 1, for losses in nats; squared errors are smaller.
        smoothing: share of uniform weights mixed in, in [0, 1].
        batches: excess losses of the window's "last" batch, or of "all" its batches. If micro-batches hold a
            single domain (sampling=single), use "all".

    Raises:
        ValueError: a value that is not allowed, or no reference.
        UserError: in `upper_level`, a reference that is not a PRM.

    Source: Xie et al., arXiv 2305.10429, algorithm 1. Departures: the paper clips each token's excess at 0,
    we clip a domain's mean squared error; it trains a small proxy for the weights, averages them over the run
    and trains a large model with the average. Here the run with moving weights is the result, as in DreamPRM;
    for the second stage, give the finished run to the baseline fixed_weights, with take=mean. It updates
    after every step, we update after every window.
    """

    reference: str | None = setting(
        None, "run folder of the vanilla PRM, which must be trained first, or a saved PRM; it must be given"
    )
    lr: float = lr_setting(1.0)
    smoothing: float = smoothing_setting(1e-3)
    batches: str = batches_setting()

    def __post_init__(self) -> None:
        check_settings(self)
        if self.reference is None:
            raise ValueError(
                "reference must be given: train the vanilla PRM first, using `dreamprm train` with the same "
                'configuration and "baseline={name: none}" "hypergrad={name: none}" output=RUN, then give '
                "baseline.reference=RUN"
            )

    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """Weights that start uniform and are moved by the excess losses."""
        del seed
        assert self.reference is not None, "checked when it was made"
        reference = reference_params(self.reference, prm)
        level = moving_weights(
            domains, ExcessLoss(reference, self.batches), lr=self.lr, smoothing=self.smoothing
        )
        return replace(level, reference=reference)


@dataclass(frozen=True, eq=False)
class ExcessLoss(Estimator):
    """alpha_grad_k = -max(0, L_k(phi_T) - L_k(reference)), averaged over the window's batches.

    Costs two forward passes per batch in addition to the plain steps; reads `domain_weights` (K,) and
    `batch["domains"]` (n,), the domains of the batch's n losses.

    Args:
        reference: the reference model's params by name, on the device of the trained ones, including frozen
            ones.
        batches: one of `moving_weights.BATCHES`.
    """

    reference: Mapping[str, Tensor]
    batches: str = "all"

    @property
    def gives_gradient(self) -> bool:
        """False: what moves the weights is a rule's step, which may be 0."""
        return False

    def _run(self, task: WindowTask) -> WindowResult:
        steps = plain_steps(task)
        excess = DomainMeans(task.alpha[DOMAIN_WEIGHTS])
        chosen = chosen_batches(task, self.batches)
        with torch.no_grad():
            for batch in chosen:
                losses = task.problem.whole_inner_losses(steps.params, batch)
                reference = task.problem.whole_inner_losses(self.reference, batch)
                excess.add(batch.batch["domains"], losses - reference)
            outer_loss = outer_value(task, steps.params)
        return WindowResult(
            params=steps.params,
            state=steps.state,
            alpha_grad={DOMAIN_WEIGHTS: -excess.means().clamp_min(0.0)},
            inner_losses=steps.losses,
            outer_loss=outer_loss,
            stats={"forward": len(steps.losses) + 2 * len(chosen) + 1, "backward": len(steps.losses)},
        )


def reference_params(folder: str, prm: nn.Module) -> dict[str, Tensor]:
    """All params of a saved PRM by name, detached, on the device of the model that is trained.

    Adapters of the model that is trained add nothing to the reference: theirs are 0.

    Raises:
        UserError: no PRM there, or one with other parameters than `prm`.
    """
    from dreamprm.models.lora import is_adapter, plain_name
    from dreamprm.models.prm import PRM
    from dreamprm.models.storage import SETTINGS_FILE

    if (Path(folder) / "model" / SETTINGS_FILE).is_file():
        folder = str(Path(folder) / "model")
    adapted = {plain_name(name): name for name, _ in prm.named_parameters() if not is_adapter(name)}
    own = {plain: prm.get_parameter(name) for plain, name in adapted.items()}
    found = {name: value.detach() for name, value in PRM.from_pretrained(folder).named_parameters()}
    for name in own.keys() | found.keys():
        shapes = [tuple(params[name].shape) if name in params else "missing" for params in (found, own)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"baseline doremi: the reference in {folder} is another model: {name} is "
                f"{shapes[0]} there and {shapes[1]} in this run; give one of the same backbone"
            )
    adapters = {name: torch.zeros_like(one) for name, one in prm.named_parameters() if is_adapter(name)}
    return adapters | {adapted[name]: value.to(own[name].device) for name, value in found.items()}
