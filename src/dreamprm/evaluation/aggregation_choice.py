"""The aggregation of each scorer: fixed, or the most accurate one on a development set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import UserError
from dreamprm.evaluation.meanings import SINGLE
from dreamprm.evaluation.outcomes import SuiteOutcomes, estimate
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.selection import Selection
from dreamprm.evaluation.settings import PICK


@dataclass(frozen=True)
class AggregationChoice:
    """How a scorer's steps become one score.

    Attributes:
        aggregation: the one used. A scorer of whole responses has one value, which all leave as it is.
        chosen: `fixed`, `development`, or `one value a response`.
        development: by aggregation the accuracy with all N candidates on the development suites' mean and
            its interval; empty unless it was picked.
    """

    aggregation: str
    chosen: str
    development: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def choose_aggregation(
    scorer: str,
    wanted: str,
    suites: Mapping[str, ScoredSuite],
    development: Mapping[str, ScoredSuite],
    *,
    seed: int,
    resamples: int,
    level: float,
) -> AggregationChoice:
    """Settle a scorer's aggregation without a look at the test suites' answers.

    `pick` takes the aggregation with the highest best-of-N accuracy with all N candidates, mean over the
    development suites; of equals the first in `AGGREGATIONS`, in which the paper's stands first.

    Args:
        scorer: its name.
        wanted: an aggregation, or `pick`.
        suites: the test suites; only the number of their values is looked at.
        development: the suites to pick on.
        seed, resamples, level: of the development figures' intervals.

    Raises:
        UserError: `pick`, and a development suite lacks the scorer.
    """
    if is_single(scorer, suites):
        return AggregationChoice(AGGREGATIONS[0], SINGLE)
    if wanted != PICK:
        return AggregationChoice(wanted, "fixed")
    lacking = [name for name, suite in development.items() if scorer not in suite.log_odds]
    if lacking:
        raise UserError(
            f"the aggregation of {scorer!r} is to be picked, but development suite "
            f"{lacking[0]!r} holds no scores of it; score it too, or fix the aggregation "
            f"(aggregations.{scorer}={AGGREGATIONS[0]})"
        )
    figures = {
        aggregation: development_figure(
            scorer, aggregation, development, seed=seed, resamples=resamples, level=level
        )
        for aggregation in AGGREGATIONS
    }
    return AggregationChoice(most_accurate(figures), "development", figures)


def development_figure(
    scorer: str,
    aggregation: str,
    development: Mapping[str, ScoredSuite],
    *,
    seed: int,
    resamples: int,
    level: float,
) -> dict[str, Any]:
    """`accuracy` with all N candidates, mean over the development suites, and its `interval`."""
    columns = []
    for index, suite in enumerate(development.values()):
        selection = Selection(suite, {scorer: aggregation}, weighted=False)
        key = (scorer, selection.size)
        columns.append(
            SuiteOutcomes({key: selection.outcome(*key)}, seed=(seed, index), resamples=resamples).column(
                *key
            )
        )
    accuracy, interval = estimate(columns, level)
    return {"accuracy": accuracy, "interval": interval}


def most_accurate(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The name with the highest accuracy; of equals the first."""
    # Means of the same outcomes in another order differ by rounding, which must not decide.
    best = max(figure["accuracy"] for figure in figures.values()) - 1e-12
    return next(name for name, figure in figures.items() if figure["accuracy"] >= best)


def is_single(scorer: str, suites: Mapping[str, ScoredSuite]) -> bool:
    """Whether a scorer has one value a response in every suite that holds it."""
    values = [one for suite in suites.values() for row in suite.log_odds.get(scorer, ()) for one in row]
    return all(len(one) == 1 for one in values)
