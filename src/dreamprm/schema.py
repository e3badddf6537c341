"""The schemas of the commands' configurations: every key, its default and its meaning, in one place.

Defaults are those of DreamPRM (arXiv 2505.20241) where the paper or its public code names a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.sandbox.settings import SandboxSettings
from dreamprm.settings import REQUIRED, open_settings, section, setting

AGGREGATIONS = ("sum_log_odds", "mean_log_odds", "mean", "min", "max", "prod", "last")
META_LOSSES = ("aggregation", "step")
NORMALISATIONS = ("softplus", "softmax", "none")
WEIGHT_KINDS = ("domain", "instance_table", "instance_net")
WEIGHT_FEATURES = ("loss", "steps", "label", "domain")
SCHEDULES = ("constant", "step", "linear_decay", "cosine")


@dataclass
class TrainFile:
    """One file of step records."""

    path: str = setting(REQUIRED, "JSON or JSONL file of step records", shorthand=True)
    domain: str | None = setting(None, "domain of all its records; null: each record names its own")


@dataclass
class DataSettings:
    """Files and how they are read."""

    train: list[TrainFile] = setting(
        REQUIRED, "files of step records: plain paths, or sections with the keys below"
    )
    meta: str = setting(REQUIRED, "JSON or JSONL file of meta records (whole CoTs with a right/wrong label)")
    lm: str | None = setting(None, "JSONL pool for the language-modelling loss (needs lm_weight > 0)")
    image_root: str | None = setting(None, "folder image paths are relative to; null: the data file's own")
    cache_dir: str = setting("data/cache", "folder of the memory-mapped copies of the files")
    on_error: str = setting(
        "error", "a bad record stops the run or is left out and listed", choices=("error", "skip")
    )
    max_bad_fraction: float = setting(
        0.01, "with on_error=skip: the largest share of bad records", minimum=0, maximum=1
    )
    missing_image: str = setting(
        "error",
        "an image that is missing or broken: stop, or go on with the text",
        choices=("error", "text_only"),
    )
    allow_no_image: bool = setting(False, "accept records that name no image")
    stepless: str = setting(
        "error", "records without a CoT cannot train: stop, or leave them out", choices=("error", "skip")
    )
    audit_bound: float = setting(
        0.65,
        "warn when a trivial feature (has steps, length, ...) predicts the label of a meta or candidate set "
        "with a larger AUC than this",
        minimum=0.5,
        maximum=1,
    )
    min_pixels: int = setting(
        3136, "images are enlarged to at least this many pixels; stored with the model", minimum=1
    )
    max_pixels: int = setting(
        262144, "images are reduced to at most this many pixels (512 x 512); stored with the model", minimum=1
    )
    num_workers: int = setting(
        0, "processes that read and decode ahead of the loop; 0: in the loop", minimum=0
    )
    max_length: int | None = setting(
        None, "longest CoT in tokens, a longer one is an error; null: no limit", minimum=1
    )

    def check(self) -> None:
        """Refuse an empty list of files and an empty range of image sizes."""
        if not self.train:
            raise ValueError("train must name at least one file of step records, got []")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels must be <= max_pixels, got {self.min_pixels} > {self.max_pixels}")


@dataclass
class ModelSettings:
    """The PRM: backbone and step head."""

    path: str | None = setting(
        None, "checkpoint of the backbone, a folder or hub name; null: random from config"
    )
    config: str | None = setting(None, "JSON file of a transformers config, for random initialisation")
    tokenizer: str | None = setting(None, "folder of the tokenizer; null: the checkpoint's")
    head: str = setting(
        "hidden",
        "step head on hidden states, or on the vocabulary's logits",
        choices=("hidden", "vocab_logits"),
    )
    readout: str = setting(
        "step_end",
        "read each step at its own end (one pass per CoT), or after the chat template (public checkpoints)",
        choices=("step_end", "chat_suffix"),
    )
    attn_implementation: str = setting(
        "auto",
        "attention; auto: eager for an estimator that takes gradients of gradients (fused attention has "
        "none), sdpa for the others",
        choices=("auto", "sdpa", "eager", "flash_attention_2"),
    )
    freeze_vision: bool = setting(False, "leave the vision tower as it is")

    def check(self) -> None:
        """Exactly one source of the backbone."""
        if self.path is not None and self.config is not None:
            raise ValueError(f"give path or config, not both (path={self.path}, config={self.config})")


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
        "domain, instance_table: softplus(raw)/mean (the paper's code), softmax(raw) times the number of "
        "weights, or the raw weights",
        choices=NORMALISATIONS,
    )
    features: list[str] = setting(
        ["loss"],
        "instance_net: what it reads of a CoT, some of loss, steps (their number), label (the mean label), "
        "domain",
    )
    hidden: int = setting(16, "instance_net: width of its hidden layer", minimum=1)

    def check(self) -> None:
        """The network reads something, and only what there is."""
        unknown = [name for name in self.features if name not in WEIGHT_FEATURES]
        if unknown or not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(
                f"features must be some of {', '.join(WEIGHT_FEATURES)}, each once, got {self.features}"
            )


def estimator_listing() -> str:
    """Every estimator with its settings and defaults, for `--help`."""
    from dreamprm.hypergrad import ESTIMATORS, estimator_settings

    lines = []
    for name in ESTIMATORS:
        given = ", ".join(f"{key}={value!r}" for key, value in estimator_settings(name).items())
        lines.append(f"{name}: {given or 'no settings'}")
    return "\n".join(lines)


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
    )
    settings: dict[str, Any] = open_settings(
        "the named estimator's own settings, written beside name:", listing=estimator_listing
    )

    def check(self) -> None:
        """Refuse unknown estimators, unknown or bad settings (makes the estimator once), and an audit of
        nothing."""
        from dreamprm.hypergrad import build_estimator

        if self.name == "none" and self.audit_every:
            raise ValueError(
                f"audit_every={self.audit_every} compares an estimator's gradient, name=none has none; "
                "set audit_every=0"
            )
        build_estimator(self.name, **self.settings)


@dataclass
class InnerSettings:
    """AdamW on the PRM's parameters phi."""

    lr: float = setting(5e-7, "learning rate", above=0)
    betas: list[float] = setting([0.9, 0.999], "decay of the two moments", minimum=0, below=1, length=2)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)
    weight_decay: float = setting(0.01, "decoupled weight decay", minimum=0)
    schedule: str = setting(
        "step",
        "learning rate over the steps: step as the public code; linear_decay and cosine end at 0",
        choices=SCHEDULES,
    )
    warmup: int = setting(0, "steps of linear growth from 0 before the schedule", minimum=0)
    step_size: int = setting(5000, "schedule=step: steps between two reductions", minimum=1)
    gamma: float = setting(0.5, "schedule=step: factor of a reduction", above=0, maximum=1)
    decay_start: float = setting(
        0.7, "schedule=linear_decay or cosine: share of the steps before the decay starts", minimum=0, below=1
    )


@dataclass
class UpperSettings:
    """AdamW on the domain weights alpha."""

    lr: float = setting(0.01, "learning rate", above=0)
    betas: list[float] = setting([0.9, 0.999], "decay of the two moments", minimum=0, below=1, length=2)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)
    weight_decay: float = setting(1e-3, "decoupled weight decay, on the raw weights", minimum=0)
    warmup: int = setting(
        0, "windows of linear growth from 0: until the PRM knows something, alpha's gradient is mostly noise",
        minimum=0,
    )


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
        choices=("auto", "bar", "lines", "none"),
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
    inner: InnerSettings = section(InnerSettings)
    upper: UpperSettings = section(UpperSettings)
    checkpoint: CheckpointSettings = section(CheckpointSettings)
    log: LogSettings = section(LogSettings)
    evaluation: EvaluationSettings = section(EvaluationSettings)
    sandbox: SandboxSettings | None = setting(None, "the generated world; null: real data")

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


def format_listing() -> str:
    """Every foreign format with its meaning and options, for `--help`."""
    from dreamprm.data.convert import FORMATS

    return "\n".join(
        f"{name}: {form.help}; options: {', '.join(form.options) or 'none'}" for name, form in FORMATS.items()
    )


@dataclass
class ConvertConfig:
    """Another project's data file in, one of our own form out."""

    format: str = setting(REQUIRED, "form of the source file; the formats are listed below")
    source: str = setting(REQUIRED, "file to read")
    destination: str = setting(REQUIRED, "JSONL file to write; appears whole or not at all")
    options: dict[str, Any] = open_settings(
        "the format's own options, written beside the keys above:", listing=format_listing
    )
