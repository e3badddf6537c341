"""Aggregation of a chain of thought's step scores into one score (DreamPRM, arXiv 2505.20241).

Everything here takes step *logits* z_i (log-odds): p_i = sigmoid(z_i), so log(p_i / (1 - p_i)) is z_i itself
and needs no division. The functions are pure, and twice differentiable except where `min` and `max` switch
from one step to another.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import UserError


def aggregate(
    step_logits: Tensor, cot: Tensor, m: int, *, aggregation: str = "sum_log_odds", temperature: float = 1.0
) -> Tensor:
    """One score in [0, 1] per CoT from its step logits: sigmoid(`aggregate_logit`).

    Arguments, errors and source as for `aggregate_logit`; returns `(m,)`. The score and its logit rank
    candidates identically; rank by the logit where scores saturate.
    """
    return torch.sigmoid(
        aggregate_logit(step_logits, cot, m, aggregation=aggregation, temperature=temperature)
    )


def aggregate_logit(
    step_logits: Tensor, cot: Tensor, m: int, *, aggregation: str = "sum_log_odds", temperature: float = 1.0
) -> Tensor:
    """The aggregate of a CoT's steps as log-odds, divided by the temperature: A / temperature.

    Log-odds forms: A is the named statistic of the z_i.
        sum_log_odds    A = sum_i z_i             the paper's, the default
        mean_log_odds   A = (1/n) sum_i z_i       the public code's; does not grow with the number of steps
    Probability forms: A = logit(P), so that at temperature 1 the score is P itself.
        mean  P = (1/n) sum_i p_i      min  P = min_i p_i     max  P = max_i p_i
        prod  P = prod_i p_i           last P = p_n
    P itself is never formed, so that |z| = 50 keeps its value and a finite gradient: `min`, `max` and
    `last` commute with the logit (it is increasing), so A is the min, max or last z_i. `mean`: A =
    logsumexp_i log sigmoid(z_i) - logsumexp_i log sigmoid(-z_i). `prod`: with s = sum_i log sigmoid(z_i) =
    log P, A = s - log(1 - exp(s)), with the last term computed by expm1 near s = 0 and by log1p below.

    Args:
        step_logits: `(S,)`, log-odds z_i; the steps of a CoT are in order.
        cot: `(S,)` long, the CoT of each step, in 0..m-1; every CoT needs a step (the loaders ensure it).
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
            value = sum_by_group(step_logits, cot, m)
        case "mean_log_odds":
            value = mean_by_group(step_logits, cot, m)
        case "mean":
            true, false = functional.logsigmoid(step_logits), functional.logsigmoid(-step_logits)
            value = _logsumexp_by_group(true, cot, m) - _logsumexp_by_group(false, cot, m)
        case "min":
            value = _extreme_by_group(step_logits, cot, m, reduce="amin")
        case "max":
            value = _extreme_by_group(step_logits, cot, m, reduce="amax")
        case "prod":
            # In float64: the second derivative of log(1 - P) passes through exp(2 z), too big for float32.
            log_p = sum_by_group(functional.logsigmoid(step_logits.double()), cot, m)
            value = _logit_of_exp(log_p).to(step_logits.dtype)
        case "last":
            value = step_logits[_last_of_group(cot, m)]
        case _:
            raise UserError(f"unknown aggregation {aggregation!r}; use one of {', '.join(AGGREGATIONS)}")
    return value / temperature


def aggregates_of(log_odds: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """Every aggregate of each chain's log-odds by name, as log-odds at temperature 1, in float64.

    Args:
        log_odds: of each chain, a number per step, at least one.
    """
    if not log_odds:
        return []
    flat = torch.tensor([value for values in log_odds for value in values], dtype=torch.float64)
    owner = torch.repeat_interleave(
        torch.arange(len(log_odds)), torch.tensor([len(values) for values in log_odds])
    )
    by_name = {
        name: aggregate_logit(flat, owner, len(log_odds), aggregation=name).tolist() for name in AGGREGATIONS
    }
    return [{name: values[i] for name, values in by_name.items()} for i in range(len(log_odds))]


def sum_by_group(values: Tensor, group: Tensor, n: int) -> Tensor:
    """`(n,)` sums of `values` (S,) by index `group` (S,) long, in 0..n-1; 0 for an index with no values."""
    return values.new_zeros(n).index_add(0, group, values)


def mean_by_group(values: Tensor, group: Tensor, n: int) -> Tensor:
    """`(n,)` means of `values` by `group`, as in `sum_by_group`."""
    counts = sum_by_group(torch.ones_like(values), group, n).clamp_min(1.0)
    return sum_by_group(values, group, n) / counts


def _extreme_by_group(values: Tensor, group: Tensor, n: int, *, reduce: str) -> Tensor:
    # Starting from 0 would be wrong even with include_self=False: the backward pass shares the gradient with
    # the start value where they are equal, and a logit of exactly 0 is common (p = 0.5).
    start = values.new_full((n,), float("inf") if reduce == "amin" else -float("inf"))
    return start.scatter_reduce(0, group, values, reduce=reduce)


def _logsumexp_by_group(values: Tensor, group: Tensor, n: int) -> Tensor:
    # Any shift gives the same value and the same gradient, so the maximum is taken as a constant.
    shift = _extreme_by_group(values.detach(), group, n, reduce="amax")
    return shift + torch.log(sum_by_group(torch.exp(values - shift[group]), group, n))


def _last_of_group(group: Tensor, n: int) -> Tensor:
    positions = torch.arange(group.shape[0], device=group.device)
    return positions.new_zeros(n).scatter_reduce(0, group, positions, reduce="amax")


def _logit_of_exp(log_p: Tensor) -> Tensor:
    """log(P / (1 - P)) from log P <= 0.

    1 - P loses all digits once P rounds to 1, so it is formed as -expm1(log P). log P itself is exact to
    rounding there (a sum of log sigmoids, each about -exp(-z)), and is below 0 unless every sigmoid rounds to
    1 even in logs (z > 700); clamping at the smallest normal number keeps that finite.
    """
    log_p = log_p.clamp_max(-torch.finfo(log_p.dtype).tiny)
    near_one = log_p > -0.5
    # Each branch sees only arguments where it is finite, since torch.where back-propagates 0 * inf.
    high = torch.log(-torch.expm1(torch.where(near_one, log_p, -1.0)))
    low = torch.log1p(-torch.exp(torch.where(near_one, -1.0, log_p)))
    return log_p - torch.where(near_one, high, low)
