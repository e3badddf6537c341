"""Scores of candidates: by a PRM, or by the backbone's own likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dreamprm.data.image_store import ImageStore
from dreamprm.data.records import CandidateRecord
from dreamprm.errors import DataError
from dreamprm.models.prm import PRM
from dreamprm.models.processing import EncodedCoT
from dreamprm.objectives import aggregate_logit, sequence_log_likelihood

# A candidate's encoding and where its score goes: (question number, candidate number).
Item = tuple[EncodedCoT, tuple[int, int]]


def prm_scores(
    prm: PRM, records: Sequence[CandidateRecord], *, images: ImageStore, aggregation: str, temperature: float,
    batch_size: int,
) -> list[list[float]]:
    """The aggregate A / temperature of every candidate's step log-odds; higher is better.

    Returns:
        a list a question, of one score a candidate.

    Raises:
        DataError: a candidate without steps.
    """

    def score(encoded: Sequence[EncodedCoT]) -> Tensor:
        inputs = _on_device(prm, prm.processor.collate(encoded))
        steps = torch.tensor([item.n_steps for item in encoded], device=prm.head.weight.device)
        cot = torch.repeat_interleave(torch.arange(len(encoded), device=steps.device), steps)
        return aggregate_logit(
            prm(inputs), cot, len(encoded), aggregation=aggregation, temperature=temperature)

    return _score_all(prm, records, score, images=images, batch_size=batch_size)


def likelihood_scores(
    prm: PRM, records: Sequence[CandidateRecord], *, images: ImageStore, batch_size: int,
) -> list[list[float]]:
    """The mean log-likelihood per token (nats) of every candidate: the PRM's backbone as a language model."""

    def score(encoded: Sequence[EncodedCoT]) -> Tensor:
        inputs = _on_device(prm, prm.processor.collate_text(encoded))
        logits = prm(inputs, output="token_logits")  # (N, vocab)
        owner, rows = inputs["token_rows"], inputs["input_ids"].shape[0]
        total = sequence_log_likelihood(logits, inputs["token_targets"], owner, rows)  # (R,)
        return total / torch.bincount(owner, minlength=rows)

    return _score_all(prm, records, score, images=images, batch_size=batch_size, readout="step_end")


@torch.no_grad()
def _score_all(
    prm: PRM, records: Sequence[CandidateRecord], score: Callable[[Sequence[EncodedCoT]], Tensor], *,
    images: ImageStore, batch_size: int, readout: str | None = None,
) -> list[list[float]]:
    scores = [[0.0] * len(record.candidates) for record in records]
    was_training = prm.training
    prm.eval()
    try:
        for batch in _batches(_encoded(prm, records, images, readout), batch_size):
            values = score([encoded for encoded, _ in batch]).tolist()
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


def _encoded(
    prm: PRM, records: Sequence[CandidateRecord], images: ImageStore, readout: str | None,
) -> Iterator[Item]:
    for question, record in enumerate(records):
        opened = images.open_all(record.images)
        seen: set[tuple[str, ...]] = set()
        for number, candidate in enumerate(record.candidates):
            if not candidate.steps:
                raise DataError(f"candidate {number} of {record.id} has no steps and cannot be scored; "
                                "give its steps, or leave it out of the candidates file")
            if candidate.steps not in seen:
                seen.add(candidate.steps)
                yield (prm.processor.encode(record.question, opened, candidate.steps, readout=readout),
                       (question, number))


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
        yield window[start:start + size]


def _on_device(prm: PRM, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(prm.head.weight.device) for name, value in batch.items()}
