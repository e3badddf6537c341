"""`dreamprm train`: a run, its data and model, and what is saved and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dreamprm.config.choices import AGGREGATIONS, HEADS, LORA_TARGETS, META_LOSSES, READOUTS
from dreamprm.config.names import check_names
from dreamprm.config.schema import GIVEN, LARGEST_SEED, REQUIRED, section, setting
from dreamprm.models.hub import check_repository
from dreamprm.runtime.settings import (
    ProgressSettings,
    ReadingSettings,
    RecordFile,
    ground_colour,
    image_ground_setting,
    require_end,
    truncated_image_setting,
)
from dreamprm.training.level_settings import (
    BaselineSettings,
    HypergradSettings,
    InnerSettings,
    UpperSettings,
    WeightSettings,
)

BESIDE_TRAINING = (
    "threads",
    "log",
    "checkpoint",
    "data.num_workers",
    "data.cache_dir",
    "hypergrad.audit_every",
    "hypergrad.audit_params",
    "shard",
    "push_to_hub",
    "hub_private",
)
"""Settings that change neither the training nor its result."""


@dataclass
class DataSettings(ReadingSettings):
    """Files and how they are read."""

    train: list[RecordFile] = setting(
        REQUIRED, "files of step records: plain paths, or sections with the keys below"
    )
    meta: str = setting(REQUIRED, "JSON or JSONL file of meta records (whole CoTs with a right/wrong label)")
    lm: str | None = setting(
        None, "JSONL pool of texts for the language-modelling loss (needs lm_weight > 0)"
    )
    cache_dir: str = setting("data/cache", "folder for memory-mapped copies of the files")
    stepless: str = setting(
        "error",
        "if there are records without a CoT, which cannot train: stop, or leave them out",
        choices=("error", "skip"),
    )
    labels: str = setting(
        "soft",
        "soft: the labels as they are (the share of completions that come right); hard: 1 if a label is "
        "above label_threshold, else 0",
        choices=("soft", "hard"),
    )
    label_threshold: float | None = setting(
        None,
        "a step is right if its label is above it, otherwise an error: for labels=hard, mask and consensus; "
        "null: 0, so that a step is right if any completion came right",
        minimum=0,
        below=1,
    )
    mask: str = setting(
        "none",
        "after_first_error: no label for the steps after a CoT's first error, which keeps its own. The error "
        "is the first step whose label is not above label_threshold, also with soft labels",
        choices=("none", "after_first_error"),
    )
    consensus: str | None = setting(
        None,
        "name of a second labelling of the same steps in every training record: a scorer's, as `dreamprm "
        "score` writes it (above 1/2: right), or a field with a number in [0, 1], true, false or null per "
        "step. What the two disagree on is left out and counted; null: no filter",
    )
    consensus_on: str = setting(
        "first_error",
        "first_error: leave out CoTs whose first errors are not the same step; steps: take the labels from "
        "the steps that are not right, or wrong, by both",
        choices=("first_error", "steps"),
        when={"consensus": GIVEN},
    )
    audit_bound: float = setting(
        0.65,
        "warn if a trivial feature (having steps, length, ...) predicts the labels of a meta or candidate "
        "set with an AUC above this",
        minimum=0.5,
        maximum=1,
    )
    min_pixels: int = setting(
        3136, "images are scaled up to at least this many pixels; stored with the model", minimum=1
    )
    max_pixels: int = setting(
        262144,
        "images are scaled down to at most this many pixels (512 x 512); stored with the model",
        minimum=1,
    )
    image_ground: str = image_ground_setting(more="; stored with the model")
    truncated_image: str = truncated_image_setting()
    num_workers: int = setting(
        0,
        "processes that read and decode ahead of the loop, for both levels; 0: the loop does so itself",
        minimum=0,
    )
    max_length: int | None = setting(
        None, "longest CoT in tokens; a longer one is a bad record; null: no limit", minimum=1
    )

    @property
    def right_above(self) -> float:
        """The threshold of right steps."""
        return 0.0 if self.label_threshold is None else self.label_threshold

    def check(self) -> None:
        """Refuse an empty list of files, an empty range of image sizes, what is no colour, and a threshold
        that nothing reads."""
        if self.label_threshold is not None and not (
            self.labels == "hard" or self.mask != "none" or self.consensus
        ):
            raise ValueError(
                f"label_threshold={self.label_threshold} is only read with labels=hard, "
                "mask=after_first_error or consensus; give one of them, or leave it out"
            )
        if self.consensus is not None and not self.consensus.strip():
            raise ValueError("consensus must name a scorer or a field, got an empty text; or give null")
        if not self.train:
            raise ValueError("train must name at least one file of step records, got []")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels must be <= max_pixels, got {self.min_pixels} > {self.max_pixels}")
        ground_colour(self.image_ground)


@dataclass
class LoraSettings:
    """Low-rank adapters on the backbone's linear layers: they and the step head are trained."""

    rank: int = setting(
        16,
        "rank of the adapters, with which those linear layers of the backbone are trained in place of their "
        "weights; the step head is trained as ever. As long as no key of model.lora is given: no adapters. "
        "Needs pip install 'dreamprm[peft]'",
        minimum=1,
    )
    alpha: float = setting(32.0, "what an adapter adds is multiplied by alpha / rank", above=0)
    rslora: bool = setting(False, "multiply by alpha / sqrt(rank), so that large ranks learn as fast")
    dropout: float = setting(
        0.0,
        "share of a layer's input that its adapter does not see, drawn anew in each pass",
        minimum=0,
        below=1,
    )
    target_modules: list[str] = setting(
        list(LORA_TARGETS),
        "patterns of the linear layers to adapt, for whole names (as in model.trainable, without .weight) or "
        "their last parts: [q_proj, v_proj]",
    )
    save: str = setting(
        "merged",
        "merged: model/ is a checkpoint like any other; adapter: it holds the adapters and the head alone, "
        "and the place and digests of model.path, which reading it needs",
        choices=("merged", "adapter"),
    )

    def check(self) -> None:
        """Refuse adapters of nothing."""
        if not self.target_modules:
            raise ValueError("target_modules must name at least one layer, got []")


@dataclass
class ModelSettings:
    """The PRM: backbone and step head."""

    path: str | None = setting(
        None, "checkpoint of the backbone, a folder or hub name; null: random initialisation from config"
    )
    config: str | None = setting(None, "JSON file of a transformers config, for random initialisation")
    tokenizer: str | None = setting(None, "folder of the tokenizer; null: the checkpoint's own")
    head: str = setting(
        "hidden",
        "step head on hidden states, or on the vocabulary's logits",
        choices=HEADS,
    )
    readout: str = setting(
        "step_end",
        "read each step at its own end (one pass per CoT), or after the chat template (public checkpoints)",
        choices=READOUTS,
    )
    attn_implementation: str = setting(
        "auto",
        "attention implementation: auto (eager for estimators that take gradients of gradients, which fused "
        "attention does not have; sdpa for the others), or a name that transformers knows: sdpa, eager, "
        "flash_attention_2 and its successors, flex_attention, a kernel of a hub",
    )
    freeze_vision: bool = setting(False, "do not train the vision tower")
    checkpoint_activations: bool = setting(
        False,
        "keep only the input of each layer for the backward pass, which computes the layer again: the same "
        "gradients with fewer activations in memory, for about a third more time",
    )
    trainable: list[str] = setting(
        [],
        "patterns of the parameters to train, such as 'head.*', '*language_model.layers.2[4-7].*' or "
        "'*merger*'; the others stay as they are and cost no gradient, moments or activations; empty: all. "
        "With model.lora: what is trained in addition to the adapters and the step head; empty: nothing",
    )
    lora: LoraSettings | None = setting(None, "train low-rank adapters; null: none")
    frozen_dtype: str = setting(
        "float32",
        "bf16: what is not trained is rounded to bfloat16 and stored so, in half the memory (matrices; norms "
        "and biases stay). It computes as before, in the precision that `precision` says: the same to the "
        "bit for a checkpoint that was published in bfloat16",
        choices=("float32", "bf16"),
    )
    cache_trunk: str = setting(
        "none",
        "if the embeddings, the vision tower and the lower layers are frozen, compute the states that enter "
        "the first trained layer once per record, keep them in data.cache_dir, and start every pass there; "
        "float32: as they are; bf16: rounded, in half the room",
        choices=("none", "float32", "bf16"),
    )

    def check(self) -> None:
        """Refuse two sources of the backbone, and adapters alone of a base that is nowhere."""
        if self.path is not None and self.config is not None:
            raise ValueError(f"give path or config, not both (path={self.path}, config={self.config})")
        if self.path is None and self.lora is not None and self.lora.save == "adapter":
            raise ValueError(
                "lora.save=adapter needs path: adapters are read with the checkpoint that they were trained "
                "on, and a random initialisation is none; set lora.save=merged"
            )


@dataclass
class CheckpointSettings:
    """What an interrupted run resumes from."""

    every: int = setting(50, "windows (of inner_steps steps) between two checkpoints", minimum=1)
    keep: int = setting(2, "number of newest checkpoints to keep", minimum=1)


@dataclass
class LogSettings(ProgressSettings):
    """What is written and shown while training."""

    every: int = setting(10, "windows between progress lines when there is no terminal", minimum=1)
    trackers: list[str] = setting(
        [],
        "also send losses, weights, gradient norms, audits and seconds to tensorboard (in the run's folder), "
        "wandb, trackio or another tracker that accelerate knows",
    )
    collapse_share: float = setting(
        0.9, "warn if one of several domains has more than this share of all weights", above=0, maximum=1
    )
    collapse_floor: float = setting(0.01, "warn if the weights of all domains are below this", minimum=0)


@dataclass
class TrainConfig:
    """Bi-level training of a PRM with learned domain weights."""

    outdated: ClassVar[tuple[str, ...]] = ("evaluation", "sandbox")
    moved: ClassVar[Mapping[str, str]] = {
        "evaluation": "training no longer evaluates; score its model with `dreamprm score`, then compare "
        "with `dreamprm evaluate`",
        "evaluation.suites": "give the suites to `dreamprm score` (files.NAME=...), and what it writes to "
        "`dreamprm evaluate` (suites.NAME=...)",
        "evaluation.shifted": "write mean_over=[...] to `dreamprm evaluate`",
        "evaluation.batch_size": "write batch_size=... to `dreamprm score`",
        "evaluation.base": "score the base checkpoint: `dreamprm score model=CHECKPOINT scores=likelihood "
        "name=base_likelihood ...`",
        "evaluation.vanilla": "train the vanilla PRM with a separate command: `dreamprm train CONFIG.yaml "
        "'hypergrad={name: none}' output=...`",
        "evaluation.quality": "`python experiments/sandbox_targets.py` compares weights with known quality",
        "sandbox": "make the world first, with `dreamprm sandbox experiments/configs/sandbox/world.yaml`; "
        "data.* and model.path then name its files",
    }
    name: str = setting(REQUIRED, "name of the run")
    output: str = setting("runs/${name}", "run folder")
    seed: int = setting(
        0, "seed for the initialisation and the order of the data", minimum=0, maximum=LARGEST_SEED
    )
    resume: str = setting(
        "auto",
        "auto: continue the run in the output folder, or start one if there is none; a run with another "
        "configuration is refused; never: start from scratch, in a folder that must be empty; or the path of "
        "a checkpoint",
    )
    overwrite: bool = setting(False, "start from scratch and replace what the output folder holds")
    changed_inputs: str = setting(
        "refuse",
        "when a run is resumed and its data files, images, base model or reference run do not hold what they "
        "held when it was started. refuse: stop and name them; accept: continue with what they hold now",
        choices=("refuse", "accept"),
    )
    steps: int = setting(10000, "total number of inner steps, a multiple of inner_steps", minimum=1)
    inner_steps: int = setting(
        5, "inner steps per window, which is followed by one upper step", minimum=1, symbol="T"
    )
    sampling: str = setting(
        "single",
        "single: each micro-batch is from one domain; mixed: each has rows from every domain",
        choices=("single", "mixed"),
    )
    batch_size: int = setting(1, "CoTs per micro-batch; with sampling=mixed, per domain", minimum=1)
    meta_batch_size: int = setting(1, "meta CoTs per upper step", minimum=1)
    micro_batches: int = setting(
        1,
        "parts in which a batch of either level is evaluated, with one part's activations in memory at a "
        "time: the same gradients; at most as many as the batch has CoTs (and texts) for each process",
        minimum=1,
    )
    aggregation: str = setting(
        "sum_log_odds", "how the scores of a CoT's steps are combined", choices=AGGREGATIONS
    )
    lm_batch_size: int = setting(
        16, "texts per micro-batch in the language-modelling loss", minimum=1, when={"lm_weight": GIVEN}
    )
    temperature: float = setting(1.0, "divides the aggregate before the sigmoid", above=0)
    meta_loss: str = setting(
        "aggregation", "taken on the CoT's score, or on single steps (ablation)", choices=META_LOSSES
    )
    lm_weight: float = setting(0.0, "weight of the language-modelling loss in the inner loss", minimum=0)
    precision: str = setting(
        "fp32", "precision of the forward pass (autocast); weights stay fp32", choices=("fp32", "bf16")
    )
    push_to_hub: str | None = setting(
        None, "upload the trained model and its card to this repository, such as USER/NAME"
    )
    hub_private: bool = setting(
        True, "make the repository private, if it is made", when={"push_to_hub": GIVEN}
    )
    shard: bool = setting(
        False,
        "several processes divide parameters, their moments and what the estimator keeps, in place of each "
        "holding all; a pass of the model gathers them",
    )
    on_nonfinite: str = setting(
        "stop",
        "after a window that is not finite (losses, parameters, weights), or diverged. stop: end the run; "
        "skip: go on from the state before the window, of which a copy is held",
        choices=("stop", "skip"),
    )
    max_nonfinite: int = setting(
        10, "most windows that a run may skip", minimum=1, when={"on_nonfinite": ("skip",)}
    )
    threads: int | None = setting(None, "CPU threads for torch; null: torch's default", minimum=1)
    data: DataSettings = section(DataSettings)
    model: ModelSettings = section(ModelSettings)
    weights: WeightSettings = section(WeightSettings)
    hypergrad: HypergradSettings = section(HypergradSettings)
    baseline: BaselineSettings = section(BaselineSettings)
    inner: InnerSettings = section(InnerSettings)
    upper: UpperSettings = section(UpperSettings)
    checkpoint: CheckpointSettings = section(CheckpointSettings)
    log: LogSettings = section(LogSettings)

    def check(self) -> None:
        """Validate the run's name, and settings that depend on each other."""
        check_names([self.name], "name")
        if self.push_to_hub is not None:
            check_repository(self.push_to_hub)
        for key in ("inner_steps", "batch_size", "meta_batch_size", "lm_batch_size"):
            require_end(key, getattr(self, key))
        if self.steps % self.inner_steps:
            raise ValueError(
                f"steps must be a multiple of inner_steps (T), got {self.steps} and {self.inner_steps}; "
                f"nearest below: {self.steps - self.steps % self.inner_steps}"
            )
        if self.lm_weight > 0 and self.data.lm is None:
            raise ValueError(
                f"lm_weight={self.lm_weight} needs a pool of texts: give data.lm, or lm_weight=0"
            )
        if self.data.lm is not None and not self.lm_weight:
            raise ValueError("data.lm is only read with lm_weight > 0; give lm_weight, or data.lm=null")
        self._check_inner_optimizer()
        self._check_shards()

    def _check_shards(self) -> None:
        """Refuse what needs whole tensors outside a pass of the model."""
        if self.shard and self.inner.optimizer == "muon":
            raise ValueError(
                "inner.optimizer=muon steps whole matrices, of which shard=true gives each process a part; "
                "take another optimizer, or shard=false"
            )
        if self.shard and self.baseline.name == "doremi":
            raise ValueError(
                "baseline.name=doremi holds a second model, whole, which shard=true does not divide; leave "
                "shard=false"
            )

    def _check_inner_optimizer(self) -> None:
        """Refuse estimators that have nothing to follow through the lower level's optimizer."""
        name, preconditioner = self.hypergrad.name, self.hypergrad.settings.get("preconditioner")
        through_steps = name in ("unrolled", "adjoint", "first_order", "forward_gradient") or (
            name == "finite_difference" and preconditioner is not None
        )
        if self.inner.optimizer == "lion" and through_steps:
            raise ValueError(
                f"inner.optimizer=lion passes no derivative to alpha, which hypergrad.name={name} needs: "
                "take another optimizer, or hypergrad.name=cg, none, or finite_difference without a "
                "preconditioner"
            )
        if self.inner.optimizer != "adamw" and preconditioner == "adamw" and name in ("neumann", "implicit"):
            raise ValueError(
                "hypergrad.preconditioner=adamw takes AdamW's second moments, and inner.optimizer is "
                f"{self.inner.optimizer}; leave it out"
            )
