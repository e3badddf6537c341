"""torch's own errors that name no setting of ours: what they mean in a window, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

_DIFFERENCES = (
    "take differences, which need first derivatives alone (derivative=central_difference; adjoint with it in "
    "place of unrolled)"
)


class _Known(NamedTuple):
    """An error of torch: words of its message (all of them), and what to raise in its place."""

    words: tuple[str, ...]
    kind: type[Exception]
    advice: str


_KNOWN = (
    _Known(
        ("CheckpointFunction",),
        NotImplementedError,
        "reentrant activation checkpoints only serve loss.backward(), not the gradients that a window asks "
        "for; set use_reentrant=False in torch.utils.checkpoint (in transformers: "
        'gradient_checkpointing_kwargs={"use_reentrant": False})',
    ),
    _Known(
        ("torch.utils.checkpoint is incompatible",),
        NotImplementedError,
        "reentrant activation checkpoints only serve loss.backward(), not the gradients that a window asks "
        "for; set use_reentrant=False in torch.utils.checkpoint (in transformers: "
        'gradient_checkpointing_kwargs={"use_reentrant": False})',
    ),
    _Known(
        ("Checkpointing is not compatible",),
        NotImplementedError,
        "reentrant activation checkpoints only serve loss.backward(), not the gradients that a window asks "
        "for; set use_reentrant=False in torch.utils.checkpoint",
    ),
    _Known(
        ("CompiledFunction",),
        NotImplementedError,
        f"code of torch.compile has first derivatives only: {_DIFFERENCES}, or give the losses uncompiled",
    ),
    _Known(
        ("aot_autograd does not currently support double backward",),
        NotImplementedError,
        f"code of torch.compile has first derivatives only: {_DIFFERENCES}, or give the losses uncompiled",
    ),
    _Known(
        ("implement the jvp function for custom autograd.Function",),
        NotImplementedError,
        "an autograd.Function of the loss has no forward-mode derivative (code of torch.compile is such a "
        f"function): {_DIFFERENCES}, take double_backward, or give the losses uncompiled",
    ),
    _Known(
        ("modified by an inplace operation",),
        NotImplementedError,
        "an operation overwrites in place what its derivative still needs. With forward-mode derivatives "
        "(derivative=forward_mode) torch's own log_softmax and cross_entropy do so where alpha is in their "
        f"graph: take double_backward there, or {_DIFFERENCES}. With the other kinds an operation of the "
        "loss does (relu_(), add_(), x[i] = ...): write it out of place",
    ),
    _Known(
        ("in-place operation",),
        ValueError,
        "the loss changes a tensor in place that it was given: write the operation out of place, or on a "
        "clone()",
    ),
    _Known(
        ("Inference tensors cannot be saved for backward",),
        ValueError,
        "a tensor that the loss reads was made under torch.inference_mode(): clone() it outside, or make it "
        "under torch.no_grad() instead",
    ),
    _Known(
        ("Inplace update to inference tensor",),
        ValueError,
        "a tensor was made under torch.inference_mode(): clone() it outside, or make it under "
        "torch.no_grad() instead",
    ),
    _Known(
        ("to be on the same device",),
        ValueError,
        "params, alpha and batches meet in an operation on different devices: move the batches to the device "
        "of the params, and alpha too (or inside the losses, by alpha.to(device))",
    ),
    _Known(
        ("is not on the expected device",),
        ValueError,
        "params, alpha and batches meet in an operation on different devices: move the batches to the device "
        "of the params, and alpha too (or inside the losses, by alpha.to(device))",
    ),
    _Known(
        ("Sparse", "Could not run"),
        NotImplementedError,
        "gradients must be dense: set sparse=False at the embedding",
    ),
    _Known(
        ("Quantized", "Could not run"),
        NotImplementedError,
        "quantised tensors have no derivatives: train dequantised params, or adapters next to quantised "
        "weights that are left out of params",
    ),
    _Known(
        ("backward through the graph a second time",),
        ValueError,
        "the loss reuses a graph of an earlier evaluation: compute everything that depends on params or "
        "alpha anew in each call, or detach it",
    ),
)


@contextmanager
def explained() -> Iterator[None]:
    """Where torch refuses an operation of the losses, say what to do.

    Raises:
        NotImplementedError, ValueError: in place of torch's own error, which is quoted.
    """
    try:
        yield
    except RuntimeError as error:  # NotImplementedError is one
        text = str(error)
        for known in _KNOWN:
            if all(word in text for word in known.words):
                first = text.strip().partition("\n")[0].partition(". ")[0]
                raise known.kind(f"{known.advice} (torch says: {first})") from error
        raise


def require_dense(grads: list[Tensor]) -> list[Tensor]:
    """Refuse sparse gradients, which optimizers and their derivatives would take for something else.

    Raises:
        NotImplementedError: with the way out.
    """
    for grad in grads:
        if grad.layout is not torch.strided:
            raise NotImplementedError(
                f"the gradient of a parameter of shape {tuple(grad.shape)} is sparse; set sparse=False "
                "at the embedding"
            )
    return grads


@contextmanager
def advice(kind: str) -> Iterator[None]:
    """Where an operation of the model lacks the derivative that this kind (by name) takes, say what to do.

    Raises:
        NotImplementedError: in place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:  # NotImplementedError is one
        if "not implemented" not in str(error) and "does not support" not in str(error):
            raise
        raise NotImplementedError(
            f"{kind} takes a derivative that an operation of the model does not have ({error}); take "
            "differences, which every kernel can do (derivative=central_difference; adjoint with it in place "
            "of unrolled), or use attention that has second derivatives (eager, or the math backend of "
            "scaled_dot_product_attention)"
        ) from error
