"""Step loss, aggregation of step scores, and meta loss (DreamPRM, arXiv 2505.20241), as pure functions.

Everything here takes step *logits* z_i (log-odds): p_i = sigmoid(z_i), so log(p_i / (1 - p_i)) is z_i itself
and needs no division. No function logs, counts or synchronises; all are twice differentiable except where
`min` and `max` switch from one step to another.
"""

import torch
from torch import Tensor
from torch.nn import functional

from dreamprm.errors import UserError

AGGREGATIONS = ("sum_log_odds", "mean_log_odds", "mean", "min", "max", "prod", "last")
META_LOSSES = ("aggregation", "step")


def step_loss_by_group(step_logits: Tensor, labels: Tensor, group: Tensor, n: int) -> Tensor:
    """Mean squared error of the step probabilities, domain by domain, or CoT by CoT.

    L_k = mean over the steps i with group_i = k of (sigmoid(z_i) - label_i)^2

    Args:
        step_logits: `(S,)`, log-odds z_i.
        labels: `(S,)`, Monte-Carlo estimates in [0, 1].
        group: `(S,)` long, the domain (or the CoT) of each step as an index 0..n-1.
        n: number of groups in the batch; each should have at least one step.

    Returns:
        `(n,)`, in the dtype of the logits; 0 for an index no step has.

    Source: DreamPRM, arXiv 2505.20241, lower-level loss.
    """
    errors = (torch.sigmoid(step_logits) - labels.to(step_logits.dtype)) ** 2  # (S,)
    return _mean_by_group(errors, group, n)


def aggregate(
    step_logits: Tensor, cot: Tensor, m: int, *, aggregation: str = "sum_log_odds", temperature: float = 1.0
) -> Tensor:
    """One score in [0, 1] per CoT from its step logits: sigmoid(`aggregate_logit`).

    Arguments, errors and source as for `aggregate_logit`; returns `(m,)`. Candidates are ranked alike by the
    score and by its logit; rank by the logit where scores saturate.
    """
    return torch.sigmoid(
        aggregate_logit(step_logits, cot, m, aggregation=aggregation, temperature=temperature)
    )


def aggregate_logit(
    step_logits: Tensor, cot: Tensor, m: int, *, aggregation: str = "sum_log_odds", temperature: float = 1.0
) -> Tensor:
    """The aggregate of a CoT's steps as log-odds, divided by the temperature: A / temperature.

    Log-odds forms: A is what the name says of the z_i.
        sum_log_odds    A = sum_i z_i             the paper's, the default
        mean_log_odds   A = (1/n) sum_i z_i       the public code's; does not grow with the number of steps
    Probability forms: A = logit(P), so that at temperature 1 the score is P itself.
        mean  P = (1/n) sum_i p_i      min  P = min_i p_i     max  P = max_i p_i
        prod  P = prod_i p_i           last P = p_n
    Computed without ever forming P, so that |z| = 50 keeps its value and a finite gradient: `min`, `max` and
    `last` commute with the logit (it is increasing), so A is the min, max or last z_i. `mean`: A =
    logsumexp_i log sigmoid(z_i) - logsumexp_i log sigmoid(-z_i). `prod`: with s = sum_i log sigmoid(z_i) =
    log P, A = s - log(1 - exp(s)), the last term by expm1 near s = 0 and by log1p below.

    Args:
        step_logits: `(S,)`, log-odds z_i, the steps of a CoT in their order.
        cot: `(S,)` long, the CoT of each step, 0..m-1; every CoT needs a step (loaders see to that).
        m: number of CoTs.
        aggregation: one of `AGGREGATIONS`.
        temperature: positive; divides A before the sigmoid.

    Returns:
        `(m,)`, in the dtype of the logits.

    Raises:
        UserError: unknown aggregation, or temperature not positive.

    Source: DreamPRM, arXiv 2505.20241, aggregation function; mean_log_odds is the public code's form.
    """
    if not temperature > 0:
        raise UserError(f"temperature must be > 0, got {temperature}; 1 leaves the aggregate as it is")
    match aggregation:
        case "sum_log_odds":
            value = _sum_by_group(step_logits, cot, m)
        case "mean_log_odds":
            value = _mean_by_group(step_logits, cot, m)
        case "mean":
            true, false = functional.logsigmoid(step_logits), functional.logsigmoid(-step_logits)
            value = _logsumexp_by_group(true, cot, m) - _logsumexp_by_group(false, cot, m)
        case "min":
            value = _extreme_by_group(step_logits, cot, m, reduce="amin")
        case "max":
            value = _extreme_by_group(step_logits, cot, m, reduce="amax")
        case "prod":
            # In float64: the second derivative of log(1 - P) passes through exp(2 z), too big for float32.
            log_p = _sum_by_group(functional.logsigmoid(step_logits.double()), cot, m)
            value = _logit_of_exp(log_p).to(step_logits.dtype)
        case "last":
            value = step_logits[_last_of_group(cot, m)]
        case _:
            raise UserError(f"unknown aggregation {aggregation!r}; use one of {', '.join(AGGREGATIONS)}")
    return value / temperature


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
    return _sum_by_group(by_token, rows, n)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _sum_by_group(values: Tensor, group: Tensor, n: int) -> Tensor:
    return values.new_zeros(n).index_add(0, group, values)


def _mean_by_group(values: Tensor, group: Tensor, n: int) -> Tensor:
    counts = _sum_by_group(torch.ones_like(values), group, n).clamp_min(1.0)
    return _sum_by_group(values, group, n) / counts


def _extreme_by_group(values: Tensor, group: Tensor, n: int, *, reduce: str) -> Tensor:
    # Starting from 0 would be wrong even with include_self=False: the backward pass shares the gradient with
    # the start value where they are equal, and a logit of exactly 0 is common (p = 0.5).
    start = values.new_full((n,), float("inf") if reduce == "amin" else -float("inf"))
    return start.scatter_reduce(0, group, values, reduce=reduce)


def _logsumexp_by_group(values: Tensor, group: Tensor, n: int) -> Tensor:
    # Any shift gives the same value and the same gradient, so the maximum is taken as a constant.
    shift = _extreme_by_group(values.detach(), group, n, reduce="amax")
    return shift + torch.log(_sum_by_group(torch.exp(values - shift[group]), group, n))


def _last_of_group(group: Tensor, n: int) -> Tensor:
    positions = torch.arange(group.shape[0], device=group.device)
    return positions.new_zeros(n).scatter_reduce(0, group, positions, reduce="amax")


def _logit_of_exp(log_p: Tensor) -> Tensor:
    """log(P / (1 - P)) from log P <= 0.

    1 - P loses all digits once P rounds to 1, so it is formed as -expm1(log P). log P itself is exact to
    rounding there (a sum of log sigmoids, each about -exp(-z)), and is below 0 unless every sigmoid rounds to
    1 even in logs (z > 700); clamping at the least normal number keeps that finite.
    """
    log_p = log_p.clamp_max(-torch.finfo(log_p.dtype).tiny)
    near_one = log_p > -0.5
    # Each branch sees only arguments where it is finite, since torch.where back-propagates 0 * inf.
    high = torch.log(-torch.expm1(torch.where(near_one, log_p, -1.0)))
    low = torch.log1p(-torch.exp(torch.where(near_one, -1.0, log_p)))
    return log_p - torch.where(near_one, high, low)
