"""Features of chains of thought from the backbone before training: their likelihood and their embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamprm.models.backbone import last_hidden_states
from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.images import ImageStore
from dreamprm.models.likelihood import mean_log_likelihood
from dreamprm.models.prm import PRM
from dreamprm.training.baselines.base import Records

Batch = dict[str, Tensor]


def mean_log_likelihoods(
    prm: PRM, records: Records, *, images: ImageStore, batch_size: int
) -> NDArray[np.float64]:
    """`(N,)`: the mean log-likelihood per token (nats) of each CoT's steps, given question and images."""

    measure = partial(mean_log_likelihood, prm)
    return _by_record(prm, records, measure, images=images, batch_size=batch_size)


def mean_states(prm: PRM, records: Records, *, images: ImageStore, batch_size: int) -> NDArray[np.float64]:
    """`(N, hidden)`: the mean of each CoT's last hidden states over the tokens of question and steps.

    Image tokens are left out: there are so many of them that the text would hardly count, and the text's
    states have seen the images.
    """

    def mean(encoded: Sequence[EncodedCoT]) -> Tensor:
        inputs = _on_device(prm, prm.processor.collate(encoded))
        states = last_hidden_states(prm.backbone, inputs)  # (R, L, hidden)
        text = (inputs["attention_mask"].bool() & (inputs["mm_token_type_ids"] == 0)).unsqueeze(-1)
        return (states * text).sum(dim=1) / text.sum(dim=1)

    return _by_record(prm, records, mean, images=images, batch_size=batch_size)


@torch.no_grad()
def _by_record(
    prm: PRM,
    records: Records,
    measure: Callable[[Sequence[EncodedCoT]], Tensor],
    *,
    images: ImageStore,
    batch_size: int,
) -> NDArray[np.float64]:
    """`measure` of every record, in batches of similar lengths."""
    values: list[NDArray[np.float64] | None] = [None] * len(records)
    was_training = prm.training
    prm.eval()
    try:
        for batch in _batches(prm, records, images, batch_size):
            measured = measure([encoded for _, encoded in batch]).double().cpu().numpy()
            for (row, _), value in zip(batch, measured, strict=True):
                values[row] = value
    finally:
        prm.train(was_training)
    return np.stack(values)  # type: ignore[arg-type]


def _batches(
    prm: PRM, records: Records, images: ImageStore, size: int
) -> Iterator[list[tuple[int, EncodedCoT]]]:
    """Batches sorted by length within windows of 16 batches, so that the whole file is never in memory."""
    window: list[tuple[int, EncodedCoT]] = []
    for row, record in enumerate(records):
        # One row per CoT, even for a model that reads after the chat template.
        window.append(
            (
                row,
                prm.processor.encode(
                    record.question, images.open_all(record.images), record.steps, readout="step_end"
                ),
            )
        )
        if len(window) == 16 * size or row + 1 == len(records):
            window.sort(key=lambda item: len(item[1].rows[0].input_ids))
            for start in range(0, len(window), size):
                yield window[start : start + size]
            window = []


def _on_device(prm: PRM, batch: Batch) -> Batch:
    return {name: value.to(prm.head.weight.device) for name, value in batch.items()}
