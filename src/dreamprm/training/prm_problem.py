"""DreamPRM as a bi-level problem: the PRM's two losses as functions of parameters, weights and a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from dreamprm.hypergrad import BilevelProblem, Part
from dreamprm.hypergrad.micro_batches import whole_losses
from dreamprm.models.activation_checkpointing import OwnCheckpointing
from dreamprm.models.backbone import language_model_loss
from dreamprm.models.prm import PRM
from dreamprm.models.weights import Weights
from dreamprm.training.objectives import meta_loss, step_loss_by_group
from dreamprm.training.processes import ALONE, Processes
from dreamprm.training.shards import Shards

Params = Mapping[str, Tensor]
Batch = Mapping[str, Any]


def prm_problem(
    prm: PRM,
    weights: Weights,
    *,
    aggregation: str = "sum_log_odds",
    temperature: float = 1.0,
    meta_loss_kind: str = "aggregation",
    lm_weight: float = 0.0,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    processes: Processes = ALONE,
    shards: Shards | None = None,
) -> BilevelProblem:
    """The lower and the upper level of DreamPRM (arXiv 2505.20241).

        inner loss = mean over the batch's domains k of w_k(alpha) L_k(phi)  +  lm_weight * L_lm(phi)
        outer loss = mean over meta CoTs of (sigmoid(A(p) / temperature) - r)^2

    With weights for single CoTs (`weights.per_instance`), k runs over the batch's CoTs instead of its
    domains. L_k is the mean over the labelled steps of k. With corrected labels (`weights.corrects_labels`)
    the weights are 1 and L_k is a function of alpha too, so that the problem has the plain form.

    Args:
        prm: the model; only its structure is used, and those of its parameters that are not in `params` (a
            frozen vision tower).
        weights: computes w_k from the upper variables alpha.
        lm_weight: weight of a next-token loss on `batch["text"]`, which does not depend on alpha.
        autocast: makes the context in which the model runs (mixed precision).
        processes: those that train together, each with its share of a batch's rows; both losses are those of
            the whole batch in all of them.
        shards: how `params` are divided among them; None: each process has all of them.

    Batches are those of `dreamprm.models.collation`. One with micro-batches is evaluated part by part, one
    part's activations in memory at a time; CoTs stay whole.

    Raises:
        UserError: here or when a loss is evaluated: transformers' own activation checkpointing is on.
    """
    own_checkpointing = OwnCheckpointing(prm.backbone)
    own_checkpointing.refuse()

    def for_own_rows(params: Params) -> Params:
        if shards is not None:
            return shards.whole(params)
        return processes.copied(params) if processes.several else params

    def step_logits(params: Params, batch: Batch) -> Tensor:
        own_checkpointing.refuse()
        params = for_own_rows(params)
        with autocast():
            logits: Tensor = functional_call(prm, dict(params), (batch["inputs"],))
        if processes.several:
            logits = processes.gathered(logits, batch["own"], batch["cot"].shape[0])
        return logits  # (S,)

    group, members = ("cot", "cots") if weights.per_instance else ("group", "domains")

    def inner_losses(params: Params, batch: Batch) -> Tensor:
        if "parts" in batch:  # asked for whole
            parts = split(batch)
            return whole_losses(parts, [inner_losses(params, part.batch) for part in parts])
        logits = step_logits(params, batch)  # (S,)
        return step_loss_by_group(logits, batch["labels"], batch[group], batch[members].shape[0])

    def corrected_loss(params: Params, alpha: Params, batch: Batch) -> Tensor:
        """The inner loss with labels that depend on alpha; of a part, what it adds to that of the batch."""
        if "parts" in batch:  # asked for whole
            return torch.stack([corrected_loss(params, alpha, part.batch) for part in split(batch)]).sum()
        logits = step_logits(params, batch)  # (S,)
        losses = step_loss_by_group(
            logits, weights.labels(alpha, batch), batch["group"], batch["domains"].shape[0]
        )
        if "domain_count" in batch:
            shares = losses.new_tensor([share for _, share in batch["losses"]["domains"]])
            loss = (losses * shares).sum() / batch["domain_count"]
        else:
            loss = losses.mean()
        return loss + text_loss(params, batch) if lm_weight else loss

    def text_loss(params: Params, batch: Batch) -> Tensor:
        if "parts" in batch:
            return torch.stack([text_loss(params, part) for part in batch["parts"]]).sum()
        own_checkpointing.refuse()
        params = for_own_rows(params)
        with autocast():
            logits = functional_call(prm, dict(params), (batch["text"],), {"output": "token_logits"})
        targets = batch["text"]["token_targets"]
        loss, count = language_model_loss(logits, targets), targets.numel()
        of_all = batch.get("targets", count)  # those of all micro-batches, whose terms are added up
        if processes.several:  # the mean over all tokens, of which each process has its number
            loss_sum, total = processes.summed(torch.stack([loss * count, loss.new_tensor(of_all)]))
            loss = loss_sum / total
        elif of_all != count:
            loss = loss * (count / of_all)
        return lm_weight * loss

    def outer_loss(params: Params, alpha: Params, batch: Batch) -> Tensor:
        if "parts" in batch:
            parts = split_outer(batch)
            losses = torch.stack([outer_loss(params, alpha, part.batch) for part in parts])
            return losses @ losses.new_tensor([part.share for part in parts])
        del alpha  # the meta loss sees alpha only through phi
        return meta_loss(
            step_logits(params, batch),
            batch["cot"],
            batch["correct"],
            kind=meta_loss_kind,
            aggregation=aggregation,
            temperature=temperature,
        )

    def split(batch: Batch) -> list[Part]:
        if weights.corrects_labels:
            count = batch["domains"].shape[0]
            return [Part(part | {"domain_count": count}, share=1.0) for part in batch.get("parts", [])] or [
                Part(batch)
            ]
        return [Part(part, share=1.0, losses=part["losses"][members]) for part in batch.get("parts", [])] or [
            Part(batch)
        ]

    def split_outer(batch: Batch) -> list[Part]:
        counted = "correct" if meta_loss_kind == "aggregation" else "cot"  # a mean over CoTs, or over steps
        return [
            Part(part, share=part[counted].shape[0] / batch[counted].shape[0])
            for part in batch.get("parts", [])
        ] or [Part(batch)]

    if weights.corrects_labels:
        return BilevelProblem(
            corrected_loss, outer_loss, split=split, split_outer=split_outer, sharding=shards
        )
    return BilevelProblem(
        outer_loss=outer_loss,
        inner_losses=inner_losses,
        weights=weights.weights,
        unweighted_loss=text_loss if lm_weight else None,
        split=split,
        split_outer=split_outer,
        sharding=shards,
        together=processes if processes.several else None,
    )
