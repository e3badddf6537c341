"""From a configuration to the parts of a run: model, data, problem, optimizers, estimator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import PreTrainedConfig

from dreamprm.config.errors import UserError
from dreamprm.data.image_notes import ImageNotes
from dreamprm.data.read_report import ReadReport
from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.data.sampling import DomainSampler
from dreamprm.data.text_reader import TextRecord
from dreamprm.files.content import FileDigests
from dreamprm.models.activation_checkpointing import checkpoint_activations
from dreamprm.models.backbone import read_backbone_config, reads_images
from dreamprm.models.collation import MetaBatches, StepBatches
from dreamprm.models.images import ImageStore
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.record_checks import RecordChecks
from dreamprm.models.trained_part import VISION
from dreamprm.models.trunk_states import CachedRecords
from dreamprm.models.weights import Weights
from dreamprm.training.baselines import build_baseline
from dreamprm.training.bilevel import BilevelState, BilevelTrainer
from dreamprm.training.feasibility import require_derivatives, require_enough_rows, require_usable_attention
from dreamprm.training.inputs import (
    Say,
    open_meta_data,
    open_texts,
    open_training_data,
    with_trained_labels,
)
from dreamprm.training.level_settings import HypergradSettings
from dreamprm.training.model_preparation import (
    read_model_config,
    refuse_divided_dropout,
    take_trained_part,
    trained_params,
)
from dreamprm.training.optimizers import make_inner_optimizer
from dreamprm.training.prm_problem import prm_problem
from dreamprm.training.processes import Processes
from dreamprm.training.run_batches import Samplers, batches_to_device, make_batches
from dreamprm.training.settings import DataSettings, TrainConfig
from dreamprm.training.shards import Shards
from dreamprm.training.trunk_cache import TrunkCache, frozen_trunk
from dreamprm.training.upper_level import configured_estimator, make_audit, make_upper_level
from dreamprm.training.usable_records import UsableRecords


@dataclass
class Run:
    """The parts of one training run.

    Attributes:
        config: the settings it trains with: the user's, with what a baseline fixes (`settled`).
        memory: what the weights remember for their logs.
        image_notes: on the images of the records used so far.
        meta_reports: of reading the meta records; those of the step records are in `records`.
        text_reports: of reading the texts, if there are any.
        inputs: what it trains on, as its checkpoints record it (`run_inputs.recorded`).
        removable: which of the checkpoints in its folder it may remove.
        processes: those that train it.
        shards: how the parameters and moments in `state` are divided among them; None: they are whole.
    """

    config: TrainConfig
    prm: PRM
    weights: Weights
    trainer: BilevelTrainer
    state: BilevelState
    memory: dict[str, torch.Tensor]
    records: RecordTable[StepRecord]
    meta: list[MetaRecord]
    sampler: DomainSampler
    step_batches: StepBatches
    meta_batches: MetaBatches
    images: ImageStore
    image_notes: ImageNotes
    meta_reports: list[ReadReport]
    text_reports: list[ReadReport]
    inputs: dict[str, Any] = field(default_factory=dict)
    removable: Callable[[Path], bool] = lambda path: True
    processes: Processes = field(default_factory=Processes)
    shards: Shards | None = None

    @property
    def position(self) -> int:
        """Inner steps of the windows done, those that were skipped included: what decides the next batch."""
        return self.state.inner.step + self.state.skipped

    def reports(self) -> dict[str, list[ReadReport]]:
        """What was left out of its data files, by file."""
        data = self.config.data
        found = {file.path: [report] for file, report in zip(data.train, self.records.reports, strict=True)}
        return found | {data.meta: self.meta_reports} | ({data.lm: self.text_reports} if data.lm else {})

    def trained_part(self) -> dict[str, int]:
        """The number of trained parameters, if not all are trained."""
        numbers = [(one.numel(), one.requires_grad) for one in self.prm.parameters()]
        part = {"trained_parameters": sum(number for number, trained in numbers if trained)}
        return {} if all(trained for _, trained in numbers) else part

    def named_weights(self) -> dict[str, float]:
        """The current weights of the domains."""
        return self.weights.named(self.state.alpha, self.memory)


@dataclass(frozen=True)
class Planned:
    """What a run that is only counted (`dreamprm plan`) has in place of its checkpoint and checked records:
    a backbone of some shapes, its files as they are, and the samplers of step records, meta records and
    texts, where its batches are chosen."""

    backbone: PreTrainedConfig
    table: RecordTable[StepRecord]
    texts: list[TextRecord]
    meta: list[MetaRecord]
    samplers: Samplers | None = None


def make_prm(config: TrainConfig, *, backbone: PreTrainedConfig | None = None) -> PRM:
    """The PRM before its first step; the same seed gives the same head (and random backbone).

    Args:
        backbone: initialised at random in place of the configured one.

    Raises:
        UserError: no model given, or one that cannot be read.
    """
    model, data = config.model, config.data
    torch.manual_seed(config.seed)
    tokenizer = model.tokenizer or model.path
    source = model.path if model.path is not None else read_model_config(model.config)
    if source is None or tokenizer is None:
        raise UserError(
            "give model.path (a checkpoint), or model.config and model.tokenizer for random initialisation"
        )
    processor = PRMProcessor.from_pretrained(
        tokenizer,
        min_pixels=data.min_pixels,
        max_pixels=data.max_pixels,
        # A tokenizer in a folder of its own does not say of what it is the tokenizer.
        text_only=None if model.tokenizer is None else not reads_images(read_backbone_config(source)),
        max_length=data.max_length,
        readout=model.readout,
        image_ground=data.image_ground,
    )
    attention = model.attn_implementation
    if attention == "auto":
        attention = "eager" if configured_estimator(config).needs_second_order else "sdpa"
    prm = PRM.from_backbone(
        backbone or source, processor=processor, head=model.head, attn_implementation=attention
    )
    take_trained_part(prm, model)
    if model.checkpoint_activations:
        checkpoint_activations(prm.backbone)
    return prm


def settled(config: TrainConfig) -> TrainConfig:
    """The settings that a run trains with: those given, with what its baseline fixes.

    Raises:
        UserError: a setting that has no meaning for the baseline.
    """
    if config.baseline.name == "none":
        return config
    if config.weights.kind != "domain":
        raise UserError(
            f"weights.kind={config.weights.kind} learns weights of single CoTs, but a baseline "
            "learns none; set weights.kind=domain, or baseline.name=none"
        )
    if config.hypergrad.audit_every:
        raise UserError(
            f"hypergrad.audit_every={config.hypergrad.audit_every} compares an estimator's "
            "gradient, but a baseline has none; set hypergrad.audit_every=0"
        )
    fixes = build_baseline(config.baseline.name, **config.baseline.settings).fixes
    return dataclasses.replace(config, hypergrad=HypergradSettings(name="none"), **fixes)


def assemble(
    config: TrainConfig,
    accelerator: Accelerator,
    *,
    data: DataSettings | None = None,
    say: Say = print,
    digests: FileDigests | None = None,
    trains: bool = True,
    planned: Planned | None = None,
) -> Run:
    """Read the data, make the model, and assemble the bi-level trainer.

    A baseline that weights the domains by another rule replaces the configured upper level.

    Args:
        data: used instead of the configured data, if a baseline has selected its training set.
        digests: of the running command, for the data files.
        trains: whether this run takes steps; a baseline's selection takes none on the whole set.
        planned: of a run that is only counted.

    Raises:
        UserError: anything in the configuration or the files that cannot work, before the first step.
    """
    config = settled(config)
    if data is not None:
        config = dataclasses.replace(config, data=data)
    processes = Processes.of(accelerator)
    require_usable_attention(config, processes.device)
    set_seed(config.seed)  # Python's, numpy's and torch's generators: two processes start alike
    digests = FileDigests() if digests is None else digests
    text_reports: list[ReadReport] = []
    meta_reports: list[ReadReport] = []
    if planned is not None:
        table, texts, meta = planned.table, planned.texts, planned.meta
    else:
        with processes.leader_first():  # it fills the caches
            table = open_training_data(config.data, say=say, digests=digests)
            texts = open_texts(config.data, say=say, reports=text_reports) if config.lm_weight else []
            meta = open_meta_data(config.data, say=say, digests=digests, reports=meta_reports)
    require_enough_rows(config, len(table.domains), processes)
    refuse_divided_dropout(config.model, processes.share.count)
    estimator = configured_estimator(config)
    prm = make_prm(config, backbone=planned.backbone if planned is not None else None)
    if planned is None:  # tensors without values are where they should be
        prm = prm.to(processes.device)
    require_derivatives(config, estimator, prm)
    if config.precision == "bf16" and config.hypergrad.settings.get("derivative") == "forward_difference":
        say(
            "precision=bf16 with one-sided differences: bf16's rounding drowns them if a batch holds more "
            "than one loss; use central_difference instead of forward_difference, or check with "
            "hypergrad.audit_every"
        )

    if planned is None:
        checks = RecordChecks(
            prm.processor,
            cache_dir=config.data.cache_dir,
            digests=digests,
            missing=config.data.missing_image,
            truncated=config.data.truncated_image,
            workers=config.data.num_workers,
            mode=config.log.progress if processes.first else "none",
            say=say,
        )
        usable = UsableRecords(checks, config.data, say=say)
        with processes.leader_first():
            usable.open_images(table, meta, texts)
            table = usable.of_table(table)
            meta = usable.of_meta(meta, meta_reports)
            texts = usable.of_texts(texts, text_reports)
    if trains:  # a selection sees the labels of the files
        table = with_trained_labels(table, config.data, say=say)
    images = prm.processor.image_store(
        missing=config.data.missing_image, truncated=config.data.truncated_image
    )
    samplers = Samplers.of(config, table, texts=len(texts), meta=len(meta))
    if planned is not None and planned.samplers is not None:
        samplers = planned.samplers
    level = make_upper_level(config, table, estimator, prm=prm)
    params = trained_params(prm, config.model)
    shards = Shards.of(params, processes) if config.shard and processes.several else None
    problem = prm_problem(
        prm,
        level.weights,
        aggregation=config.aggregation,
        temperature=config.temperature,
        meta_loss_kind=config.meta_loss,
        lm_weight=config.lm_weight,
        autocast=accelerator.autocast,
        processes=processes,
        shards=shards,
    )
    audit = make_audit(config, prm, list(params))
    _share_weights(prm, params)
    cached: dict[str, CachedRecords] = {}
    trunk = frozen_trunk(config, prm, params, reference=level.reference)
    if trunk is not None and trains and planned is None:
        cache = TrunkCache(trunk, config, checks, digests, accelerator.autocast, processes, say)
        cached = cache.of({"train": table, "meta": meta, "texts": texts})
        images.know(*checks.image_problems())  # as no batch opens one
    if shards is not None:
        shards.empty(prm)
        params = {name: shards.own(name, params.pop(name)) for name in list(params)}
    alpha = {name: value.to(processes.device) for name, value in level.alpha.items()}
    inner = make_inner_optimizer(config.inner, steps=config.steps, names=params)
    step_batches, meta_batches = make_batches(
        config,
        table,
        meta,
        texts,
        samplers=samplers,
        prm=prm,
        images=images,
        processes=processes,
        cached=cached,
    )
    trainer = BilevelTrainer(
        problem,
        level.estimator,
        inner,
        level.optimizer if level.moves else None,
        inner_steps=config.inner_steps,
        to_device=batches_to_device(
            prm,
            processes.device,
            accelerator.autocast,
            frozen_vision=not any(name.startswith(VISION) for name in params),
        ),
        audit=audit,
        skip_nonfinite=config.on_nonfinite == "skip",
        problem_of=level.weights.problem,
    )
    return Run(
        config=config,
        prm=prm,
        weights=level.weights,
        trainer=trainer,
        state=BilevelState.start(params, alpha, inner=inner, upper=level.optimizer),
        memory=level.weights.memory(),
        records=table,
        meta=meta,
        sampler=samplers.steps,
        step_batches=step_batches,
        meta_batches=meta_batches,
        images=images,
        image_notes=ImageNotes(),
        meta_reports=meta_reports,
        text_reports=text_reports,
        processes=processes,
        shards=shards,
    )


def rehearse(run: Run) -> None:
    """Try the shortest window that takes every derivative, if the model may lack one; nothing is changed.

    Raises:
        UserError: the estimator takes a derivative that the model does not support.
    """
    trainer, state = run.trainer, run.state
    if not trainer.estimator.needs_forward_mode:
        return
    batches = [trainer.to_device(run.step_batches[step]) for step in range(2)]
    try:
        trainer.estimator.run_window(
            trainer.problem,
            trainer.inner,
            state.params,
            state.inner,
            state.alpha,
            inner_batches=batches,
            outer_batch=trainer.to_device(run.meta_batches[0]),
        )
    except NotImplementedError as error:
        raise UserError(f"hypergrad: {error}") from error


def _share_weights(prm: PRM, params: dict[str, torch.Tensor]) -> None:
    """Make the module share the trained weights: a second copy of a 2B model would waste 9 GB.

    Training runs through `functional_call` on `params`; `load_params` updates the module. Its other
    parameters, the frozen ones, take no gradient, so that no pass keeps what only their gradients need.
    """
    for name, parameter in prm.named_parameters():
        if name in params:
            parameter.data = params[name].detach()
        parameter.requires_grad_(name in params)
