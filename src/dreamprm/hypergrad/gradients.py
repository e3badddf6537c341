"""Gradients of losses by name, and what is refused of a loss that has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dreamprm.hypergrad.torch_errors import require_dense


def leaves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fresh views of the tensors that collect gradients."""
    return {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}


def gradients(
    output: Tensor, inputs: Mapping[str, Tensor], *, create_graph: bool = False
) -> dict[str, Tensor]:
    """d output / d inputs by name; zeros for the inputs that do not enter."""
    return dict(zip(inputs, gradient_list(output, list(inputs.values()), create_graph=create_graph)))


def gradient_list(
    output: Tensor,
    inputs: list[Tensor],
    *,
    grad_output: Tensor | None = None,
    create_graph: bool = False,
    keep: bool = False,
) -> list[Tensor]:
    """d <output, grad_output> / d inputs in one pass; zeros for the inputs that do not enter.

    The graph is freed, unless `keep` (or `create_graph`, which gives the result one of its own).
    """
    if not inputs or not output.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return require_dense(
        list(
            torch.autograd.grad(
                output,
                inputs,
                grad_output,
                retain_graph=keep or create_graph,
                create_graph=create_graph,
                materialize_grads=True,
            )
        )
    )


def inner_gradient_list(
    loss: Tensor, params: Mapping[str, Tensor], upper: Iterable[Tensor] = (), *, create_graph: bool = False
) -> list[Tensor]:
    """d loss / d params, then d loss / d upper, of an inner loss that may reach alpha's graph alone.

    Raises:
        ValueError: it does not reach the params.
    """
    inputs = [*params.values(), *upper]
    require_graph(loss, name="inner_loss")
    grads = torch.autograd.grad(loss, inputs, create_graph=create_graph, allow_unused=True)
    if all(grad is None for grad in grads[: len(params)]):
        raise ValueError(
            "inner_loss does not depend on params, only on alpha: they were detached, or "
            "it reads other tensors than those it was given"
        )
    return require_dense(
        [torch.zeros_like(tensor) if grad is None else grad for tensor, grad in zip(inputs, grads)]
    )


def require_graph(loss: Tensor, *, name: str) -> Tensor:
    """Refuse a loss cut off from everything that is trained, which would silently give zero gradients."""
    if not loss.requires_grad:
        raise ValueError(
            f"{name} does not depend on params or alpha: it was detached, computed under "
            "torch.no_grad(), or reads other tensors than those it was given"
        )
    return loss
