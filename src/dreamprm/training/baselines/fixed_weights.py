"""Fixed weights: those of an earlier run, used from the first step to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass

import torch
from torch import nn

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.hypergrad import build_estimator
from dreamprm.models.weights import DOMAIN_WEIGHTS, DomainWeights
from dreamprm.training.baselines.base import UpperLevel, Weighting
from dreamprm.training.baselines.exponentiated import ExponentiatedGradient
from dreamprm.training.baselines.past_weights import TAKES, for_domains, past_weights


@dataclass(frozen=True)
class FixedWeights(Weighting):
    """A PRM trained with the weights that another run ended with, or their average, scaled to mean 1.

    Use it for the second stage of DoReMi and DoGE (take=mean), or to see whether learned weights are worth as
    much when used from the start.

    Args:
        run: folder of a finished run with the same domains.
        take: `last` or `mean` (over its upper steps).

    Raises:
        ValueError: another take.
        UserError: in `upper_level`, no such run, or one with other domains.
    """

    run: str = setting(MISSING, "folder of a finished run with the same domains")
    take: str = setting(
        "last", "the weights that the run ended with, or their mean over its upper steps", choices=TAKES
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """The earlier run's weights, which stay fixed."""
        del seed, prm
        return staying(domains, for_domains(past_weights(self.run, take=self.take), domains, run=self.run))


def staying(domains: Sequence[str], values: Sequence[float]) -> UpperLevel:
    """Weights that stay fixed: alpha is the weights themselves, and no step moves it."""
    alpha = {DOMAIN_WEIGHTS: torch.tensor(values, dtype=torch.float32)}
    return UpperLevel(
        DomainWeights(domains, "none"),
        alpha,
        build_estimator("none"),
        ExponentiatedGradient(lr=1.0),
        moves=False,
    )
