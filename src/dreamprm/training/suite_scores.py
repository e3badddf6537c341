"""Scores of candidates: by a PRM, or by the backbone's own likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dreamprm.config.errors import DataError
from dreamprm.data.records import CandidateRecord
from dreamprm.models.aggregation import aggregate_logit
from dreamprm.models.backbone import sequence_log_likelihood
from dreamprm.models.candidate_scoring import PassLimits
from dreamprm.models.images import ImageStore
from dreamprm.models.prm import PRM
from dreamprm.models.processing import EncodedCoT
from dreamprm.scoring.chain_scores import Chain, scored_chains

# A candidate's place: (question number, candidate number).
Place = tuple[int, int]
Item = tuple[EncodedCoT, Place]


def prm_scores(
    prm: PRM,
    records: Sequence[CandidateRecord],
    *,
    images: ImageStore,
    aggregation: str,
    temperature: float,
    batch_size: int,
) -> list[list[float]]:
    """The aggregate A / temperature of every candidate's step log-odds; higher is better.

    Returns:
        a list a question, of one score a candidate.

    Raises:
        DataError: a candidate without steps.
    """
    chains = (
        Chain(records[question].question, records[question].images, steps, (question, number))
        for (question, number), steps in _steps(records)
    )
    places: list[Place] = []
    log_odds: list[list[float]] = []
    for place, values in scored_chains(prm, chains, images=images, limits=PassLimits(batch_size)):
        places.append(place)
        log_odds.append(values)
    steps = torch.tensor([len(values) for values in log_odds], dtype=torch.long)
    flat = torch.tensor([value for values in log_odds for value in values], dtype=torch.float64)  # (S,)
    cot = torch.repeat_interleave(torch.arange(len(places)), steps)
    aggregates = aggregate_logit(flat, cot, len(places), aggregation=aggregation, temperature=temperature)
    scores = [[0.0] * len(record.candidates) for record in records]
    for (question, number), value in zip(places, aggregates.tolist(), strict=True):
        scores[question][number] = value
    return scores


@torch.no_grad()
def likelihood_scores(
    prm: PRM,
    records: Sequence[CandidateRecord],
    *,
    images: ImageStore,
    batch_size: int,
) -> list[list[float]]:
    """The mean log-likelihood per token (nats) of every candidate: the PRM's backbone as a language model.

    Returns, raises: as `prm_scores`.
    """
    scores = [[0.0] * len(record.candidates) for record in records]
    was_training = prm.training
    prm.eval()
    try:
        for batch in _batches(_encoded(prm, records, images), batch_size):
            values = _likelihoods(prm, [encoded for encoded, _ in batch]).tolist()
            for (_, (question, number)), value in zip(batch, values, strict=True):
                scores[question][number] = value
    finally:
        prm.train(was_training)
    # Equal candidates of a question were scored once.
    for record, row in zip(records, scores, strict=True):
        first: dict[tuple[str, ...], int] = {}
        for i, candidate in enumerate(record.candidates):
            row[i] = row[first.setdefault(candidate.steps, i)]
    return scores


def _likelihoods(prm: PRM, encoded: Sequence[EncodedCoT]) -> Tensor:
    device = prm.head.weight.device
    inputs = {name: value.to(device) for name, value in prm.processor.collate_text(encoded).items()}
    logits = prm(inputs, output="token_logits")  # (N, vocab)
    owner, rows = inputs["token_rows"], inputs["input_ids"].shape[0]
    total = sequence_log_likelihood(logits, inputs["token_targets"], owner, rows)  # (R,)
    return total / torch.bincount(owner, minlength=rows)


def _steps(records: Sequence[CandidateRecord]) -> Iterator[tuple[Place, tuple[str, ...]]]:
    for question, record in enumerate(records):
        for number, candidate in enumerate(record.candidates):
            if not candidate.steps:
                raise DataError(
                    f"candidate {number} of {record.id} has no steps and cannot be scored; "
                    "give its steps, or leave it out of the candidates file"
                )
            yield (question, number), candidate.steps


def _encoded(prm: PRM, records: Sequence[CandidateRecord], images: ImageStore) -> Iterator[Item]:
    """Every different candidate of each question as text, after its question."""
    seen: set[tuple[int, tuple[str, ...]]] = set()
    pixels: list[np.ndarray] = []
    opened = -1
    for (question, number), steps in _steps(records):
        if (question, steps) in seen:
            continue
        seen.add((question, steps))
        record = records[question]
        if opened != question:
            pixels = [prm.processor.patcher.resized(image) for image in images.open_all(record.images)]
            opened = question
        yield prm.processor.encode(record.question, pixels, steps, readout="step_end"), (question, number)


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Batches of similar lengths, sorted within windows of 16 batches: the whole file is never held."""
    window: list[Item] = []
    for item in items:
        window.append(item)
        if len(window) == 16 * size:
            yield from _by_length(window, size)
            window = []
    yield from _by_length(window, size)


def _by_length(window: list[Item], size: int) -> Iterator[list[Item]]:
    window.sort(key=lambda item: max(len(row.input_ids) for row in item[0].rows))
    for start in range(0, len(window), size):
        yield window[start : start + size]
