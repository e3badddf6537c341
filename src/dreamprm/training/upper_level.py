"""From a configuration to the upper level: what alpha is, what takes its gradient, and what moves it."""

from __future__ import annotations

from torch.nn.attention import SDPBackend, sdpa_kernel

from dreamprm.config.checking import settings_read
from dreamprm.config.errors import UserError
from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import StepRecord
from dreamprm.hypergrad import ESTIMATORS, Estimator, build_estimator
from dreamprm.hypergrad.audit import Audit
from dreamprm.models.prm import PRM
from dreamprm.models.weights import DomainWeights, InstanceNet, InstanceTable, LabelCorrections, Weights
from dreamprm.training.baselines import UpperLevel, Weighting, build_baseline
from dreamprm.training.bilevel import Projected, UpperOptimizer
from dreamprm.training.optimizers import make_optimizer
from dreamprm.training.settings import TrainConfig

# Perturbation norm of differences if the forward pass is autocast to bf16; off by 8 % on a trained PRM
# (experiments/results/precision.md). Without it the search for a step finds none that is precise there, and
# takes one backward pass for each loss instead: as right as bf16 itself, but 2.8 times the passes of the
# window with four losses in a batch, 6.8 times with the sandbox's 15. In the plain form, which has no single
# losses to take apart, it was off by 17 % where this radius left .7 %. `hypergrad.radius=null` asks for it.
BF16_RADIUS = 0.05


def make_upper_level(
    config: TrainConfig,
    table: RecordTable[StepRecord],
    estimator: Estimator,
    *,
    prm: PRM,
) -> UpperLevel:
    """The configured weights, estimator and optimizer, or those of a baseline that weights the domains."""
    baseline = build_baseline(config.baseline.name, **config.baseline.settings)
    if isinstance(baseline, Weighting):
        return baseline.upper_level(list(table.domains), seed=config.seed, prm=prm)
    weights = _weights(config, table)
    alpha = weights.init()
    optimizer: UpperOptimizer = make_optimizer(
        config.upper, steps=config.steps // config.inner_steps, names=alpha, section="upper"
    )
    if weights.corrects_labels:
        optimizer = Projected(optimizer, weights.admissible)
    return UpperLevel(weights, alpha, estimator, optimizer, moves=config.hypergrad.name != "none")


def _weights(config: TrainConfig, table: RecordTable[StepRecord]) -> Weights:
    settings, domains = config.weights, table.domains
    match settings.kind:
        case "instance_table":
            return InstanceTable(domains, settings.normalisation)
        case "instance_net":
            return InstanceNet(list(domains), settings.features, hidden=settings.hidden, seed=config.seed)
        case "labels":
            return LabelCorrections(
                list(domains), *table.labels(), count=len(table), corrected=settings.correct
            )
        case _:
            return DomainWeights(list(domains), settings.normalisation)


def make_audit(config: TrainConfig, prm: PRM, names: list[str]) -> Audit:
    """Which windows' gradients are compared with the exact one, along which of the params `names`.

    Raises:
        UserError: the model has no gradients of gradients, or an unknown name.
    """
    settings = config.hypergrad
    audit = Audit(every=settings.audit_every, params=tuple(settings.audit_params))
    if audit.every:
        with sdpa_kernel(SDPBackend.MATH):
            possible = prm.supports_second_order
        if not possible:
            raise UserError(
                f"hypergrad.audit_every={audit.every} takes gradients of gradients, which "
                f"model.attn_implementation={config.model.attn_implementation} does not have; set "
                "model.attn_implementation=sdpa (or eager), or hypergrad.audit_every=0"
            )
        try:
            audit.select(names)
        except ValueError as error:
            raise UserError(f"hypergrad.audit_params: {error}") from error
    return audit


def configured_estimator(config: TrainConfig) -> Estimator:
    """The configured estimator; under bf16, with a radius suited to its rounding unless one is given."""
    name, given = config.hypergrad.name, config.hypergrad.settings
    if config.precision == "bf16" and "radius" in settings_read(ESTIMATORS, name, given):
        given = {"radius": BF16_RADIUS, **given}
    return build_estimator(name, **given)
