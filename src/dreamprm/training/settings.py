"""`dreamprm train`: a run, its sections, and what is saved, shown and evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.choices import AGGREGATIONS, META_LOSSES, PROGRESS_MODES
from dreamprm.config.schema import REQUIRED, section, setting
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.training.baseline_settings import BaselineSettings
from dreamprm.training.data_settings import DataSettings
from dreamprm.training.level_settings import HypergradSettings, InnerSettings, UpperSettings, WeightSettings
from dreamprm.training.model_settings import ModelSettings

BESIDE_TRAINING = (
    "evaluation",
    "threads",
    "log",
    "checkpoint",
    "data.num_workers",
    "data.cache_dir",
    "hypergrad.audit_every",
    "hypergrad.audit_params",
)
"""Settings that change neither the training nor its result."""


@dataclass
class CheckpointSettings:
    """What an interrupted run continues from."""

    every: int = setting(50, "windows (of inner_steps steps) between two checkpoints", minimum=1)
    keep: int = setting(2, "checkpoints kept, the newest ones", minimum=1)


@dataclass
class LogSettings:
    """What is written and shown while training."""

    every: int = setting(10, "windows between two lines shown where there is no terminal", minimum=1)
    progress: str = setting(
        "auto",
        "bar on a terminal and lines elsewhere, or one of them always",
        choices=PROGRESS_MODES,
    )


@dataclass
class EvaluationSettings:
    """Best-of-N on held-out candidates after the training."""

    suites: dict[str, str] = setting({}, "candidate files by name of suite")
    shifted: list[str] = setting([], "suites that the reported mean is over; empty: all")
    batch_size: int = setting(64, "CoTs scored in one pass", minimum=1)
    base: bool = setting(False, "also select by the untrained model: likelihood, new head")
    vanilla: str = setting(
        "none",
        "vanilla PRM (uniform weights, otherwise the same run) beside it: trained at the same time in a "
        "process of its own, or not at all",
        choices=("live", "none"),
    )
    quality: str | None = setting(
        None, "JSON file of each domain's known quality, set against the learned weights after training"
    )

    def check(self) -> None:
        """Every shifted suite is one of the suites, and none has the name of their mean."""
        if "mean" in self.suites:
            raise ValueError("suites holds one named mean, as the mean over suites is; give it another name")
        unknown = [name for name in self.shifted if name not in self.suites]
        if unknown:
            known = ", ".join(self.suites) or "none"
            raise ValueError(f"shifted names {', '.join(unknown)}; the suites are {known}")


@dataclass
class TrainConfig:
    """Bi-level training of a PRM with learned domain weights, then evaluation and report."""

    name: str = setting(REQUIRED, "name of the run")
    output: str = setting("runs/${name}", "run folder")
    seed: int = setting(0, "seed of initialisation, order of the data and evaluation", minimum=0)
    resume: str = setting(
        "auto",
        "auto: continue the run in the output folder, start where there is none, refuse a run of another "
        "configuration; never: start anew, refuse a folder that is not empty; or the path of a checkpoint",
    )
    overwrite: bool = setting(False, "start anew and replace what the output folder holds")
    steps: int = setting(10000, "inner steps in all, a multiple of inner_steps", minimum=1)
    inner_steps: int = setting(
        5, "inner steps of a window, after which comes one upper step", minimum=1, symbol="T"
    )
    sampling: str = setting(
        "single", "micro-batches of one domain, or with rows of every domain", choices=("single", "mixed")
    )
    batch_size: int = setting(1, "CoTs in a micro-batch; with sampling=mixed: of each domain", minimum=1)
    meta_batch_size: int = setting(1, "meta CoTs of an upper step", minimum=1)
    aggregation: str = setting("sum_log_odds", "score of a CoT from its steps", choices=AGGREGATIONS)
    lm_batch_size: int = setting(16, "texts in a micro-batch's language-modelling loss", minimum=1)
    temperature: float = setting(1.0, "divides the aggregate before the sigmoid", above=0)
    meta_loss: str = setting(
        "aggregation", "on the CoT's score, or on single steps (ablation)", choices=META_LOSSES
    )
    lm_weight: float = setting(0.0, "weight of the language-modelling loss in the inner loss", minimum=0)
    precision: str = setting(
        "fp32", "autocast of the forward pass; weights are fp32", choices=("fp32", "bf16")
    )
    threads: int | None = setting(None, "CPU threads of torch; null: torch's choice", minimum=1)
    data: DataSettings = section(DataSettings)
    model: ModelSettings = section(ModelSettings)
    weights: WeightSettings = section(WeightSettings)
    hypergrad: HypergradSettings = section(HypergradSettings)
    baseline: BaselineSettings = section(BaselineSettings)
    inner: InnerSettings = section(InnerSettings)
    upper: UpperSettings = section(UpperSettings)
    checkpoint: CheckpointSettings = section(CheckpointSettings)
    log: LogSettings = section(LogSettings)
    evaluation: EvaluationSettings = section(EvaluationSettings)
    sandbox: SandboxConfig | None = setting(None, "the generated world; null: real data")

    def check(self) -> None:
        """Settings that only make sense together."""
        if self.steps % self.inner_steps:
            raise ValueError(
                f"steps must be a multiple of inner_steps (T), got {self.steps} and {self.inner_steps}; "
                f"nearest below: {self.steps - self.steps % self.inner_steps}"
            )
        if self.lm_weight > 0 and self.data.lm is None:
            raise ValueError(
                f"lm_weight={self.lm_weight} needs a pool of texts: give data.lm, or lm_weight=0"
            )
