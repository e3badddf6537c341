"""The likelihood of chains of thought under the backbone as a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dreamprm.models.backbone import sequence_log_likelihood
from dreamprm.models.candidate_scoring import PassLimits, whole_rows
from dreamprm.models.encoding import EncodedCoT

if TYPE_CHECKING:
    from dreamprm.models.prm import PRM


@torch.no_grad()
def mean_log_likelihood(prm: PRM, encoded: Sequence[EncodedCoT]) -> Tensor:
    """`(R,)`, 1/L sum_j log p(token_j | all before it) over the L tokens of each CoT's steps, in nats.

    It is conditioned on the question and its images. One forward pass; the step head is not used.

    Args:
        prm: its backbone is the language model; in evaluation mode.
        encoded: CoTs of one row each, that is, encoded with the readout `step_end`.
    """
    device = prm.head.weight.device
    inputs = {name: value.to(device) for name, value in prm.processor.collate_text(encoded).items()}
    logits = prm(inputs, output="token_logits")  # (N, vocab)
    owner, rows = inputs["token_rows"], inputs["input_ids"].shape[0]
    total = sequence_log_likelihood(logits, inputs["token_targets"], owner, rows)  # (R,)
    return total / torch.bincount(owner, minlength=rows)


def likelihood_of_questions(
    prm: PRM,
    questions: Sequence[Sequence[EncodedCoT]],
    *,
    limits: PassLimits,
    wanted: Sequence[bool] | None = None,
) -> Iterator[tuple[int, list[list[float]]]]:
    """`mean_log_likelihood` of every candidate, yielded like the log-odds of `scored_questions`.

    Arguments and yields as in `scored_questions`; each candidate has a list of one value.
    """

    def measure(encoded: list[EncodedCoT]) -> list[list[float]]:
        return [[value] for value in mean_log_likelihood(prm, encoded).tolist()]

    yield from whole_rows(questions, measure, limits, wanted=wanted)
