"""The two levels: what alpha weighs, how its gradient is found, both optimizers; or a baseline in place of
learned weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.choices import NORMALISATIONS, SCHEDULES, WEIGHT_FEATURES, WEIGHT_KINDS
from dreamprm.config.schema import GIVEN, open_settings, setting


@dataclass
class WeightSettings:
    """What alpha weighs."""

    kind: str = setting(
        "domain",
        "one weight a domain (DreamPRM); one a training CoT, in a table; or one a CoT by a small network "
        "from the CoT's own loss (both DreamPRM-1.5). With the last two the inner loss is a mean over CoTs",
        choices=WEIGHT_KINDS,
    )
    normalisation: str = setting(
        "softplus",
        "softplus(raw)/mean (the paper's code), softmax(raw) times the number of weights, or the raw weights",
        choices=NORMALISATIONS,
        when={"kind": ("domain", "instance_table")},
    )
    features: list[str] = setting(
        ["loss"],
        "what the network reads of a CoT, some of loss, steps (their number), label (the mean label), domain",
        when={"kind": ("instance_net",)},
    )
    hidden: int = setting(
        16, "width of the network's hidden layer", minimum=1, when={"kind": ("instance_net",)}
    )

    def check(self) -> None:
        """The network reads something, and only what there is."""
        unknown = [name for name in self.features if name not in WEIGHT_FEATURES]
        if unknown or not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(
                f"features must be some of {', '.join(WEIGHT_FEATURES)}, each once, got {self.features}"
            )


@dataclass
class HypergradSettings:
    """The estimator of the upper gradient."""

    name: str = setting(
        "unrolled", "how d L_meta(phi_T(alpha)) / d alpha is found; none: alpha stays as it is"
    )
    audit_every: int = setting(
        0,
        "windows between two audits: the exact gradient is computed too, and its cosine with the "
        "estimator's is logged; 0: never",
        minimum=0,
    )
    audit_params: list[str] = setting(
        [],
        "where memory forbids the exact gradient: audit as if only the parameters whose names match one of "
        "these patterns (such as '*layers.27.*') were trained; empty: all",
        when={"audit_every": GIVEN},
    )
    settings: dict[str, Any] = open_settings(
        "the named estimator's own settings, written beside name:",
        registry="dreamprm.hypergrad:ESTIMATORS",
        build=True,
    )

    def check(self) -> None:
        """Refuse an audit of nothing."""
        if self.name == "none" and self.audit_every:
            raise ValueError(
                f"audit_every={self.audit_every} compares an estimator's gradient, name=none has none; "
                "set audit_every=0"
            )


@dataclass
class LevelSettings:
    """AdamW and its learning rate; of the lower level over steps, of the upper level over windows."""

    betas: list[float] = setting([0.9, 0.999], "decay of the two moments", minimum=0, below=1, length=2)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)
    warmup: int = setting(0, "steps (windows) of linear growth from 0 before the schedule", minimum=0)
    step_size: int = setting(
        5000, "steps (windows) between two reductions", minimum=1, when={"schedule": ("step",)}
    )
    gamma: float = setting(0.5, "factor of a reduction", above=0, maximum=1, when={"schedule": ("step",)})
    decay_start: float = setting(
        0.7,
        "share of the run before the decay starts",
        minimum=0,
        below=1,
        when={"schedule": ("linear_decay", "cosine")},
    )
    no_decay: list[str] = setting(
        [], "parameters without weight decay, by patterns of names such as '*norm*', '*.bias'"
    )
    max_grad_norm: float | None = setting(
        None, "bound on the norm of the whole gradient; null: no clipping", above=0
    )


@dataclass
class InnerSettings(LevelSettings):
    """AdamW on the PRM's parameters phi."""

    lr: float = setting(5e-7, "learning rate", above=0)
    weight_decay: float = setting(0.01, "decoupled weight decay", minimum=0)
    schedule: str = setting(
        "step",
        "learning rate over the steps: step as the public code; linear_decay and cosine end at 0",
        choices=SCHEDULES,
    )


@dataclass
class UpperSettings(LevelSettings):
    """AdamW on alpha. A warm-up helps where alpha's gradient is noise until the PRM knows something."""

    lr: float = setting(0.01, "learning rate", above=0)
    weight_decay: float = setting(1e-3, "decoupled weight decay, on the raw weights", minimum=0)
    schedule: str = setting(
        "constant",
        "learning rate over the windows: constant as the public code; linear_decay and cosine end at 0",
        choices=SCHEDULES,
    )


@dataclass
class BaselineSettings:
    """A reference run in place of learned weights; it fixes what it needs (hypergrad.name=none, for one)."""

    name: str = setting(
        "none",
        "none: weights are learned as the other sections say; orm: one outcome label a CoT; car, s1: a "
        "selected training set; meta_only, with_meta: trained on the meta set, alone or beside the rest; "
        "random_weights, fixed_weights: weights that stay; doremi, doge: weights by another rule",
    )
    settings: dict[str, Any] = open_settings(
        "the named baseline's own settings, written beside name:",
        registry="dreamprm.training.baselines:BASELINES",
        build=True,
    )
