"""The two levels: what alpha weighs, how its gradient is computed, both optimizers; or a baseline in place of
learned weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.choices import (
    CORRECTED,
    INNER_OPTIMIZERS,
    NORMALISATIONS,
    SCHEDULES,
    WEIGHT_FEATURES,
    WEIGHT_KINDS,
)
from dreamprm.config.schema import GIVEN, open_settings, setting


@dataclass
class WeightSettings:
    """What alpha weighs."""

    kind: str = setting(
        "domain",
        "one weight per domain (DreamPRM); one per training CoT, in a table; or one per CoT, computed by a "
        "small network from the CoT's own loss (both DreamPRM-1.5), where the inner loss is a mean over "
        "CoTs; labels: no weights, but a correction of each step's label (DreamPRM-Code)",
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
        "the network's inputs for a CoT: some of loss, steps (their number), label (the mean label), domain",
        when={"kind": ("instance_net",)},
    )
    hidden: int = setting(
        16, "width of the network's hidden layer", minimum=1, when={"kind": ("instance_net",)}
    )
    correct: str = setting(
        "intermediate",
        "intermediate: the labels of all steps but a CoT's last one, which says whether its answer is right; "
        "all: that one too",
        choices=CORRECTED,
        when={"kind": ("labels",)},
    )

    def check(self) -> None:
        """Validate the network's inputs."""
        unknown = [name for name in self.features if name not in WEIGHT_FEATURES]
        if unknown or not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(
                f"features must be some of {', '.join(WEIGHT_FEATURES)}, each once, got {self.features}"
            )


@dataclass
class HypergradSettings:
    """The estimator of the upper gradient."""

    name: str = setting(
        "unrolled", "how d L_meta(phi_T(alpha)) / d alpha is computed; none: alpha is not trained"
    )
    audit_every: int = setting(
        0,
        "windows between two audits, which also compute the exact gradient and log its cosine with the "
        "estimator's; 0: never",
        minimum=0,
    )
    audit_params: list[str] = setting(
        [],
        "if the exact gradient does not fit in memory: audit as if only the parameters whose names match one "
        "of these patterns (such as '*layers.27.*') were trained; empty: all",
        when={"audit_every": GIVEN},
    )
    settings: dict[str, Any] = open_settings(
        "the named estimator's own settings, written next to name:",
        registry="dreamprm.hypergrad:ESTIMATORS",
        build=True,
    )

    def check(self) -> None:
        """Refuse an audit without an estimator."""
        if self.name == "none" and self.audit_every:
            raise ValueError(
                f"audit_every={self.audit_every} compares an estimator's gradient, but name=none has none; "
                "set audit_every=0"
            )


@dataclass
class LevelSettings:
    """An optimizer and its learning rate, which follows steps on the lower level and windows on the upper."""

    betas: list[float] = setting([0.9, 0.999], "decay rates of the two moments", minimum=0, below=1, length=2)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)
    warmup: int = setting(0, "steps (windows) over which the learning rate first grows linearly", minimum=0)
    step_size: int = setting(
        5000, "steps (windows) between two reductions", minimum=1, when={"schedule": ("step",)}
    )
    gamma: float = setting(0.5, "factor of each reduction", above=0, maximum=1, when={"schedule": ("step",)})
    decay_start: float = setting(
        0.7,
        "share of the run before the decay starts",
        minimum=0,
        below=1,
        when={"schedule": ("linear_decay", "cosine")},
    )
    no_decay: list[str] = setting(
        [], "parameters without weight decay, as patterns of names such as '*norm*', '*.bias'"
    )
    max_grad_norm: float | None = setting(
        None, "the whole gradient is clipped to this norm; null: no clipping", above=0
    )


@dataclass
class InnerSettings(LevelSettings):
    """The optimizer on the PRM's parameters phi."""

    optimizer: str = setting(
        "adamw",
        "adamw; adam and sgd, whose weight decay is an L2 penalty in the gradient; lion, whose steps pass no "
        "derivative to alpha; muon for matrices, with adamw for all other tensors",
        choices=INNER_OPTIMIZERS,
    )
    lr: float = setting(5e-7, "learning rate", above=0)
    weight_decay: float = setting(0.01, "weight decay: decoupled, but in adam and sgd", minimum=0)
    betas: list[float] = setting(
        [0.9, 0.999],
        "decay rates of the two moments (of lion's one in its step and as it is kept: 0.9, 0.99 are usual)",
        minimum=0,
        below=1,
        length=2,
        when={"optimizer": ("adamw", "adam", "lion", "muon")},
    )
    eps: float = setting(
        1e-8,
        "added to the root of the second moment",
        above=0,
        when={"optimizer": ("adamw", "adam", "muon")},
    )
    amsgrad: bool = setting(
        False, "divide by the largest second moment so far", when={"optimizer": ("adam",)}
    )
    momentum: float = setting(
        0.9, "share of the last step's momentum", minimum=0, below=1, when={"optimizer": ("sgd", "muon")}
    )
    dampening: float = setting(
        0.0, "of the gradient in the momentum", minimum=0, maximum=1, when={"optimizer": ("sgd",)}
    )
    nesterov: bool = setting(False, "look ahead along the momentum", when={"optimizer": ("sgd", "muon")})
    no_muon: list[str] = setting(
        [],
        "matrices that adamw steps, as patterns of names such as '*embed*', '*head*'",
        when={"optimizer": ("muon",)},
    )
    schedule: str = setting(
        "step",
        "learning rate over the steps: step as in the public code; linear_decay and cosine end at 0",
        choices=SCHEDULES,
    )

    def check(self) -> None:
        """Refuse a Nesterov step without momentum."""
        if self.optimizer == "sgd" and self.nesterov and not (self.momentum > 0 and self.dampening == 0):
            raise ValueError(
                "nesterov=true takes momentum > 0 and dampening=0, got "
                f"momentum={self.momentum} and dampening={self.dampening}"
            )


@dataclass
class UpperSettings(LevelSettings):
    """AdamW on alpha. A warm-up helps if alpha's gradient is noise until the PRM has learned something."""

    lr: float = setting(0.01, "learning rate", above=0)
    weight_decay: float = setting(1e-3, "decoupled weight decay, on the raw weights", minimum=0)
    schedule: str = setting(
        "constant",
        "learning rate over the windows: constant as in the public code; linear_decay and cosine end at 0",
        choices=SCHEDULES,
    )


@dataclass
class BaselineSettings:
    """A reference run in place of learned weights; it fixes what it needs (such as hypergrad.name=none)."""

    name: str = setting(
        "none",
        "none: weights are learned as the other sections say; orm: one outcome label per CoT; car, s1, "
        "bis, random_share: a selected training set; meta_only, with_meta: trained on the meta set, alone or "
        "with the rest; random_weights, fixed_weights, regmix: weights that stay fixed; doremi, doge: "
        "weights by another rule",
    )
    settings: dict[str, Any] = open_settings(
        "the named baseline's own settings, written next to name:",
        registry="dreamprm.training.baselines:BASELINES",
        build=True,
    )
