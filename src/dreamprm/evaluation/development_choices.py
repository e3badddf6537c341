"""What is chosen on a development set, never on the test answers: aggregations, checkpoints, a generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dreamprm.config.choices import AGGREGATIONS
from dreamprm.config.errors import UserError, nearest
from dreamprm.evaluation.bootstrap import Bootstrap, Floats, PairedOutcomes, mean_of
from dreamprm.evaluation.packed import PackedLogOdds
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.selection import Selection, generator_outcomes
from dreamprm.evaluation.selector_names import SINGLE
from dreamprm.evaluation.settings import PICK

Suites = Mapping[str, ScoredSuite]


@dataclass(frozen=True)
class AggregationChoice:
    """How a scorer's steps become one score.

    Attributes:
        aggregation: the one used. A scorer of whole responses has one value, which all aggregations leave
            unchanged.
        chosen: `fixed`, `development`, or `one value a response`.
        development: by aggregation, the accuracy with all N candidates (mean over the development suites) and
            its interval; empty unless it was picked.
    """

    aggregation: str
    chosen: str
    development: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def choose_aggregation(
    scorer: str,
    wanted: str,
    suites: Suites,
    development: Suites,
    *,
    bootstrap: Bootstrap,
) -> AggregationChoice:
    """Choose a scorer's aggregation without using the test suites' answers.

    `pick` takes the aggregation with the highest best-of-N accuracy with all N candidates, mean over the
    development suites; ties go to the first in `AGGREGATIONS`, where the paper's comes first.

    Args:
        scorer: its name.
        wanted: an aggregation, or `pick`.
        suites: the test suites; only the number of values per response is used.
        development: the suites to pick on.
        bootstrap: of the development figures' intervals.

    Raises:
        UserError: `pick` is given and a development suite lacks the scorer.
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
        aggregation: development_figure(scorer, aggregation, development, bootstrap=bootstrap)
        for aggregation in AGGREGATIONS
    }
    return AggregationChoice(most_accurate(figures), "development", figures)


def development_figure(
    scorer: str,
    aggregation: str,
    development: Suites,
    *,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """`accuracy` with all N candidates, mean over the development suites, and its `interval`."""
    estimates = []
    for index, suite in enumerate(development.values()):
        selection = Selection(suite, {scorer: aggregation}, weighted=False)
        values = selection.outcome(scorer, selection.size)
        estimates.append(PairedOutcomes({scorer: values}, bootstrap.draws(len(values), index))[scorer])
    mean = mean_of(estimates)
    return {"accuracy": mean.value, "interval": list(mean.interval(bootstrap.level))}


def most_accurate(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The name with the highest accuracy; ties go to the first."""
    # Means of the same outcomes in another order differ by rounding, which must not decide.
    best = max(figure["accuracy"] for figure in figures.values()) - 1e-12
    return next(name for name, figure in figures.items() if figure["accuracy"] >= best)


def is_single(scorer: str, suites: Suites) -> bool:
    """Whether a scorer has one value per response in every suite that holds it."""
    rows = [suite.log_odds[scorer] for suite in suites.values() if scorer in suite.log_odds]
    return all(
        all(steps == 1 for steps in held.steps)
        if isinstance(held, PackedLogOdds)
        else all(len(one) == 1 for row in held for one in row)
        for held in rows
    )


@dataclass(frozen=True)
class CheckpointChoice:
    """The checkpoint that represents a model.

    Attributes:
        picked: its scorer.
        development: for each checkpoint, the `aggregation` it is judged with (its best one, if that is picked
            too), its `accuracy` (mean over the development suites) and the `interval`.
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
    bootstrap: Bootstrap,
) -> CheckpointChoice:
    """Pick the checkpoint with the highest best-of-N accuracy on development; ties go to the first given.

    Args:
        name: of the model, for messages.
        checkpoints: the scorers to choose from.
        wanted: the model's aggregation, or `pick`: each checkpoint is then judged with its best one.
        suites, development: the test suites and those to pick on; both must hold all checkpoints.
        bootstrap: of the figures' intervals.

    Raises:
        UserError: a suite lacks a checkpoint, or has another scorer with the model's name; no checkpoints
            given.
    """
    check_checkpoints(
        name,
        checkpoints,
        {suite: list(held.log_odds) for suite, held in suites.items()},
        {suite: list(held.log_odds) for suite, held in development.items()},
    )
    figures: dict[str, dict[str, Any]] = {}
    for scorer in checkpoints:
        allowed = (
            AGGREGATIONS
            if wanted == PICK and not is_single(scorer, suites)
            else (AGGREGATIONS[0] if wanted == PICK else wanted,)
        )
        tried = {
            aggregation: development_figure(scorer, aggregation, development, bootstrap=bootstrap)
            for aggregation in allowed
        }
        best = most_accurate(tried)
        figures[scorer] = {"aggregation": best, **tried[best]}
    return CheckpointChoice(most_accurate(figures), figures)


def check_checkpoints(
    name: str,
    checkpoints: Sequence[str],
    suites: Mapping[str, Sequence[str]],
    development: Mapping[str, Sequence[str]],
) -> None:
    """Require that a model's checkpoints are among the scorers of each suite; see `choose_checkpoint`."""
    if not checkpoints:
        raise UserError(f"checkpoints.{name} is empty; give the scorers to choose from")
    for role, held in (("test", suites), ("development", development)):
        for suite, scorers in held.items():
            if name in scorers and name not in checkpoints:
                raise UserError(
                    f"checkpoints.{name} has the name of a scorer of {role} suite {suite!r} "
                    "that is not among them; give it another name"
                )
            for scorer in checkpoints:
                if scorer not in scorers:
                    raise UserError(
                        f"checkpoints.{name} names {scorer!r}{nearest(scorer, scorers)}, but {role} suite "
                        f"{suite!r} holds no scores of it; its scorers are {', '.join(scorers) or 'none'}"
                    )


def with_checkpoints(suites: Suites, choices: Mapping[str, CheckpointChoice]) -> dict[str, ScoredSuite]:
    """The suites with each model under its own name and its checkpoints' scores removed."""
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


@dataclass(frozen=True)
class BestGenerator:
    """The best single generator of a suite, and what it was chosen on: `development` or `test`."""

    name: str
    chosen_on: str


def best_generator(
    suite: ScoredSuite,
    development: Sequence[ScoredSuite] = (),
) -> BestGenerator | None:
    """The generator with the highest mean accuracy, chosen on the development suites if possible.

    Only generators that answered every question take part: one that answered only the easy ones would win
    unfairly. The development suites must hold all of the generators of `suite`; otherwise, or without
    development suites, the choice is made on the suite itself, which makes the accuracy slightly too high.
    Ties go to the first.

    Returns: the generator; None if the suite's candidates come from one, or none answered everything.
    """
    here = _complete_means(generator_outcomes(suite))
    if not here:
        return None
    there = [_complete_means(generator_outcomes(other)) for other in development]
    if there and all(name in means for means in there for name in here):
        pooled = {name: float(np.mean([means[name] for means in there])) for name in here}
        return BestGenerator(max(pooled, key=lambda name: pooled[name]), "development")
    return BestGenerator(max(here, key=lambda name: here[name]), "test")


def _complete_means(outcomes: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in outcomes.items() if np.isfinite(values).all()}
