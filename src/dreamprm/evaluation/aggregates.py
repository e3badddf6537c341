"""From the log-odds of steps to one score a candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamprm.evaluation.intervals import Floats


def aggregate_candidates(
    log_odds: Sequence[Sequence[float]], *, aggregation: str, temperature: float = 1.0
) -> Floats:
    """(M,) float64 A / temperature of M candidates (`dreamprm.models.aggregation.aggregate_logit`).

    A scorer of whole responses (an ORM) has one value a candidate, which every aggregation leaves as it is.

    Args:
        log_odds: of each candidate its steps' log-odds, at least one.
        aggregation: one of `dreamprm.config.choices.AGGREGATIONS`.
        temperature: > 0.

    Raises:
        UserError: an unknown aggregation, or a temperature not above 0.
        ValueError: a candidate without values.
    """
    import torch

    from dreamprm.models.aggregation import aggregate_logit

    if not all(log_odds):
        raise ValueError("every candidate needs at least one value")
    counts = torch.tensor([len(values) for values in log_odds])
    steps = torch.tensor([value for values in log_odds for value in values], dtype=torch.float64)
    cot = torch.repeat_interleave(torch.arange(len(log_odds)), counts)
    return np.asarray(
        aggregate_logit(steps, cot, len(log_odds), aggregation=aggregation, temperature=temperature).numpy()
    )
