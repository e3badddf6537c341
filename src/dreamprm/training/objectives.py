"""Step loss and meta loss (DreamPRM, arXiv 2505.20241), as pure functions of step logits.

Both take step *logits* z_i (log-odds): p_i = sigmoid(z_i). No function logs, counts or synchronises; both are
twice differentiable except where the aggregations `min` and `max` switch from one step to another.
"""

import torch
from torch import Tensor

from dreamprm.config.choices import META_LOSSES
from dreamprm.config.errors import UserError
from dreamprm.models.aggregation import aggregate, mean_by_group


def step_loss_by_group(step_logits: Tensor, labels: Tensor, group: Tensor, n: int) -> Tensor:
    """Mean squared error of the step probabilities, per domain or per CoT.

    L_k = mean over the steps i with group_i = k of (sigmoid(z_i) - label_i)^2

    Args:
        step_logits: `(S,)`, log-odds z_i.
        labels: `(S,)`, Monte-Carlo estimates in [0, 1].
        group: `(S,)` long, the domain (or the CoT) of each step as an index 0..n-1.
        n: number of groups in the batch; each should have at least one step.

    Returns:
        `(n,)`, in the dtype of the logits; 0 for a group without steps.

    Source: DreamPRM, arXiv 2505.20241, lower-level loss.
    """
    errors = (torch.sigmoid(step_logits) - labels.to(step_logits.dtype)) ** 2  # (S,)
    return mean_by_group(errors, group, n)


def meta_loss(
    step_logits: Tensor,
    cot: Tensor,
    correct: Tensor,
    *,
    kind: str = "aggregation",
    aggregation: str = "sum_log_odds",
    temperature: float = 1.0,
) -> Tensor:
    """The upper level's loss: how far CoT scores are from their right/wrong labels r.

    aggregation:  mean over CoTs of (sigmoid(A / temperature) - r)^2    the paper's aggregation function loss
    step:         mean over steps of (p_i - r)^2                        its ablation, without A

    Args:
        step_logits: `(S,)`, log-odds.
        cot: `(S,)` long, the CoT of each step, 0..m-1.
        correct: `(m,)`, 1.0 for a right final answer, else 0.0.
        kind: one of `META_LOSSES`.
        aggregation, temperature: as for `aggregate_logit`.

    Returns:
        0-dim tensor in the dtype of the logits.

    Raises:
        UserError: unknown kind, aggregation, or temperature not positive.

    Source: DreamPRM, arXiv 2505.20241, upper-level loss and its ablation without the aggregation function.
    """
    target = correct.to(step_logits.dtype)
    if kind == "aggregation":
        scores = aggregate(
            step_logits, cot, target.shape[0], aggregation=aggregation, temperature=temperature
        )  # (m,)
        return ((scores - target) ** 2).mean()
    if kind == "step":
        return ((torch.sigmoid(step_logits) - target[cot]) ** 2).mean()
    raise UserError(f"unknown meta_loss {kind!r}; use one of {', '.join(META_LOSSES)}")
