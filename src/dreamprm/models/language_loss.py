"""The backbone's language-modelling loss, and the likelihood of texts under it."""

import torch
from torch import Tensor
from torch.nn import functional

from dreamprm.models.aggregation import sum_by_group


def language_model_loss(token_logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of next tokens, - mean_j log softmax(logits_j)[target_j], in float32 or wider.

    Args:
        token_logits: `(N, vocab)`, at the positions before the targets; `PRM.forward` gives them.
        targets: `(N,)` long.
    """
    return functional.cross_entropy(_at_least_float32(token_logits), targets)


def sequence_log_likelihood(token_logits: Tensor, targets: Tensor, rows: Tensor, n: int) -> Tensor:
    """Log-likelihood of each row's text: sum over its tokens of log softmax(logits_j)[target_j].

    Args:
        token_logits: `(N, vocab)`.
        targets: `(N,)` long.
        rows: `(N,)` long, the row of each target, 0..n-1.
        n: number of rows.

    Returns:
        `(n,)` float32 or wider; 0 for a row without targets.
    """
    by_token = -functional.cross_entropy(_at_least_float32(token_logits), targets, reduction="none")  # (N,)
    return sum_by_group(by_token, rows, n)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
