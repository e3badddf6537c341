"""Of several checkpoints of one model the most accurate one on a development set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import UserError
from dreamprm.evaluation.aggregation_choice import development_figure, is_single, most_accurate
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.settings import PICK

Suites = Mapping[str, ScoredSuite]


@dataclass(frozen=True)
class CheckpointChoice:
    """The checkpoint that stands for a model.

    Attributes:
        picked: its scorer.
        development: of each checkpoint the `aggregation` it is judged with (its best one, where that is to
            be picked too), its `accuracy` on the development suites' mean, and the `interval`.
    """

    picked: str
    development: Mapping[str, Mapping[str, Any]]


def choose_checkpoint(
    name: str,
    checkpoints: Sequence[str],
    wanted: str,
    suites: Suites,
    development: Suites,
    *,
    seed: int,
    resamples: int,
    level: float,
) -> CheckpointChoice:
    """Pick the checkpoint with the highest best-of-N accuracy on development; of equals the first given.

    Args:
        name: of the model, for messages.
        checkpoints: the scorers to choose from.
        wanted: the model's aggregation, or `pick`: each checkpoint is then judged with its best one.
        suites, development: the test suites, which must hold all of them, and those to pick on.
        seed, resamples, level: of the figures' intervals.

    Raises:
        UserError: a suite lacks a checkpoint, or has another scorer of the model's name; none to choose from.
    """
    if not checkpoints:
        raise UserError(f"checkpoints.{name} is empty; give the scorers to choose from")
    for role, held in (("test", suites), ("development", development)):
        for suite_name, suite in held.items():
            if name in suite.log_odds and name not in checkpoints:
                raise UserError(
                    f"checkpoints.{name} has the name of a scorer of {role} suite {suite_name!r} "
                    "that is not among them; give it another name"
                )
            for scorer in checkpoints:
                if scorer not in suite.log_odds:
                    raise UserError(
                        f"checkpoints.{name} names {scorer!r}, but {role} suite {suite_name!r} holds no "
                        f"scores of it; its scorers are {', '.join(suite.log_odds) or 'none'}"
                    )
    figures: dict[str, dict[str, Any]] = {}
    for scorer in checkpoints:
        allowed = (
            AGGREGATIONS
            if wanted == PICK and not is_single(scorer, suites)
            else (AGGREGATIONS[0] if wanted == PICK else wanted,)
        )
        tried = {
            aggregation: development_figure(
                scorer, aggregation, development, seed=seed, resamples=resamples, level=level
            )
            for aggregation in allowed
        }
        best = most_accurate(tried)
        figures[scorer] = {"aggregation": best, **tried[best]}
    return CheckpointChoice(most_accurate(figures), figures)


def with_checkpoints(suites: Suites, choices: Mapping[str, CheckpointChoice]) -> dict[str, ScoredSuite]:
    """The suites with each model under its own name and its checkpoints' scores taken out."""
    dropped = {scorer for choice in choices.values() for scorer in choice.development}
    return {
        suite_name: dataclasses.replace(
            suite,
            log_odds={
                **{scorer: rows for scorer, rows in suite.log_odds.items() if scorer not in dropped},
                **{name: suite.log_odds[choice.picked] for name, choice in choices.items()},
            },
        )
        for suite_name, suite in suites.items()
    }
