"""A run's batches: which records each holds, made of the run's parts, and moved to its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import torch
from accelerate.utils import send_to_device

from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.data.sampling import DomainSampler, EpochSampler, Sampling
from dreamprm.data.text_reader import TextRecord
from dreamprm.models.backbone import with_image_features
from dreamprm.models.collation import MetaBatches, StepBatches
from dreamprm.models.images import ImageStore
from dreamprm.models.prm import PRM
from dreamprm.models.trunk_states import CachedRecords
from dreamprm.training.processes import Processes
from dreamprm.training.settings import TrainConfig

# Seeds for the independent orders in which data is visited, in addition to the run's own seed.
META_ORDER, TEXT_ORDER = 1, 2


class Samplers(NamedTuple):
    """Which step records, meta records and texts each batch holds; no sampler of texts without a pool."""

    steps: DomainSampler
    meta: EpochSampler
    texts: EpochSampler | None

    @classmethod
    def of(cls, config: TrainConfig, table: RecordTable[StepRecord], *, meta: int, texts: int) -> Samplers:
        """Those of a run with this table, and so many meta records and texts.

        Raises:
            UserError: a batch size that does not fit a set.
        """
        steps = DomainSampler(
            {name: len(rows) for name, rows in table.domains.items()},
            mode=cast(Sampling, config.sampling),
            batch_size=config.batch_size,
            seed=config.seed,
        )
        of_texts = None
        if config.lm_weight:
            of_texts = EpochSampler(
                texts, config.lm_batch_size, seed=_seed(config, TEXT_ORDER), setting="lm_batch_size"
            )
        of_meta = EpochSampler(
            meta, config.meta_batch_size, seed=_seed(config, META_ORDER), setting="meta_batch_size"
        )
        return cls(steps, of_meta, of_texts)


def _seed(config: TrainConfig, order: int) -> int:
    return 3 * config.seed + order


def make_batches(
    config: TrainConfig,
    table: RecordTable[StepRecord],
    meta: Sequence[MetaRecord],
    texts: Sequence[TextRecord],
    *,
    samplers: Samplers,
    prm: PRM,
    images: ImageStore,
    processes: Processes,
    cached: Mapping[str, CachedRecords],
) -> tuple[StepBatches, MetaBatches]:
    """The batches of both levels; `cached` has a trunk's states of the sets `train`, `meta` and `texts`."""
    steps = StepBatches(
        table,
        table.domains,
        samplers.steps,
        processor=prm.processor,
        images=images,
        texts=texts,
        text_sampler=samplers.texts,
        share=processes.share,
        micro_batches=config.micro_batches,
        states=cached.get("train"),
        text_states=cached.get("texts"),
    )
    upper = MetaBatches(
        meta,
        samplers.meta,
        processor=prm.processor,
        images=images,
        share=processes.share,
        micro_batches=config.micro_batches,
        states=cached.get("meta"),
    )
    return steps, upper


def batches_to_device(
    prm: PRM,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    *,
    frozen_vision: bool,
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that moves a batch to the parameters' device; with a frozen vision tower, it also computes
    the image features, once for the whole window."""

    def with_features(batch: dict[str, Any]) -> dict[str, Any]:
        shown = [name for name in ("inputs", "text") if name in batch]
        return batch | {name: with_image_features(prm.backbone, batch[name]) for name in shown}

    def to_device(batch: dict[str, Any]) -> dict[str, Any]:
        batch = send_to_device(batch, device)
        if not frozen_vision:
            return batch
        with autocast():
            if "parts" in batch:
                return batch | {"parts": [with_features(part) for part in batch["parts"]]}
            return with_features(batch)

    return to_device
