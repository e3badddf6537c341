"""Settings of a run that cannot work together with its model, its data or its processes: refused before the
first step."""

from __future__ import annotations

import torch

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import Estimator
from dreamprm.models.backbone import require_attention
from dreamprm.models.prm import PRM
from dreamprm.training.processes import Processes
from dreamprm.training.settings import TrainConfig


def require_usable_attention(config: TrainConfig, device: torch.device) -> None:
    """Refuse attention that cannot be trained with these settings, before anything is read.

    Raises:
        UserError: naming the setting to change.
    """
    name = config.model.attn_implementation
    if name == "auto":
        return
    try:
        require_attention(name)
    except UserError as error:
        raise UserError(f"model.attn_implementation: {error}; or auto") from error
    if "flash" in name and config.precision != "bf16":
        raise UserError(
            f"model.attn_implementation={name} computes in half precision alone; set precision=bf16, or "
            "model.attn_implementation=sdpa"
        )
    if name == "flex_attention" and device.type == "cpu":
        raise UserError(
            "model.attn_implementation=flex_attention has no gradients on a CPU; set "
            "model.attn_implementation=sdpa"
        )


def require_derivatives(config: TrainConfig, estimator: Estimator, prm: PRM) -> None:
    """Refuse an estimator that takes a derivative which the model does not have, or that takes no parts.

    Raises:
        UserError: naming the setting to change.
    """
    if estimator.needs_second_order and not prm.supports_second_order:
        raise UserError(
            f"hypergrad.name={config.hypergrad.name} takes gradients of gradients, which "
            f"model.attn_implementation={config.model.attn_implementation} does not have; set "
            "model.attn_implementation=eager (or auto), or hypergrad.name=first_order"
        )
    if config.micro_batches > 1 and not estimator.evaluates_parts:
        raise UserError(
            f"micro_batches={config.micro_batches} saves nothing with hypergrad.name="
            f"{config.hypergrad.name}, which holds the graphs of whole batches; take hypergrad.name=adjoint, "
            "which gives the same number"
        )


def require_enough_rows(config: TrainConfig, domains: int, processes: Processes) -> None:
    """Refuse batches of which a process would have no row, and micro-batches of batches that have one.

    Raises:
        UserError: naming the setting to change.
    """
    rows = config.batch_size * (domains if config.sampling == "mixed" else 1)
    sizes = {"batch_size": rows, "meta_batch_size": config.meta_batch_size}
    if config.lm_weight:
        sizes["lm_batch_size"] = config.lm_batch_size
    for name, size in sizes.items():
        if size < processes.share.count:
            raise UserError(
                f"{name}={getattr(config, name)} leaves some of the {processes.share.count} processes "
                f"without a row, as a batch is divided among them; start at most {size}, or raise {name} "
                "(another experiment)"
            )
    if config.micro_batches > 1 and max(rows, config.meta_batch_size) < 2 * processes.share.count:
        raise UserError(
            f"micro_batches={config.micro_batches} has nothing to divide: a batch has {rows} CoTs and a meta "
            f"batch {config.meta_batch_size}, for {processes.share.count} processes; leave it out, or raise "
            "batch_size or meta_batch_size"
        )
