"""Scores of steps, stored with the candidates or step records they belong to: one number per step, by scorer.

    "scores": {"dreamprm": {"log_odds": [2.1, -0.3], "steps": [0.891, 0.426], "sum_log_odds": 1.8, ...}}

`log_odds` is what computations use: once a probability has been rounded to 1, its step can no longer be told
from a better one. `steps` are the probabilities; they and the aggregates are there for people and other
programs, and neither is needed when the file is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dreamprm.data.fields import Fields

Scores = Mapping[str, tuple[float, ...]]
"""Log-odds by scorer, one per step; a single one if the scorer judges the whole response (an ORM)."""

# A probability of exactly 0 or 1 only says that it is beyond this limit.
_SMALLEST = 1e-7


def scores_to_json(
    scores: Scores, aggregates: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, Any]:
    """The `scores` field.

    Args:
        scores: log-odds by scorer.
        aggregates: by scorer, its aggregates by name; omitted if None.
    """
    return {
        name: {
            "log_odds": list(log_odds),
            "steps": [probability(value) for value in log_odds],
            **((aggregates or {}).get(name, {})),
        }
        for name, log_odds in scores.items()
    }


def read_scores(fields: Fields, steps: int) -> dict[str, tuple[float, ...]]:
    """The `scores` of a candidate or record, which may be absent.

    Args:
        fields: the object that holds them.
        steps: the number of its steps; a scorer has one value per step, or a single one.

    Raises:
        DataError: scores not in the form above, a value that is not finite, or a wrong number of values.
    """
    if "scores" not in fields:
        return {}
    given = fields.values["scores"]
    if not isinstance(given, dict):
        raise fields.error("scores", "an object of scores by scorer, or null")
    return {name: _log_odds(fields, name, value, steps) for name, value in given.items()}


def probability(log_odds: float) -> float:
    """sigmoid(log_odds), without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def _log_odds(fields: Fields, name: str, value: Any, steps: int) -> tuple[float, ...]:
    where = f"scores.{name}"
    allowed = (
        f"an object with 'log_odds' (or 'steps', probabilities): {steps} finite numbers, or a single one"
    )
    if not isinstance(value, dict):
        raise fields.error(where, allowed, value)
    if value.get("log_odds") is not None:
        numbers = _numbers(value["log_odds"])
    else:
        shares = _numbers(value.get("steps"))
        if shares is not None and not all(0 <= share <= 1 for share in shares):
            raise fields.error(f"{where}.steps", "probabilities in [0, 1]", value["steps"])
        numbers = shares and [_logit(share) for share in shares]
    if not numbers or len(numbers) not in (1, steps):
        raise fields.error(where, allowed, value)
    return tuple(numbers)


def _numbers(value: Any) -> list[float] | None:
    if not isinstance(value, list):
        return None
    finite = [
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value
    ]
    return [float(one) for one in value] if all(finite) else None


def _logit(share: float) -> float:
    clipped = min(max(share, _SMALLEST), 1 - _SMALLEST)
    return math.log(clipped) - math.log1p(-clipped)
