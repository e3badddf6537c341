"""Accuracy of each generator alone, where candidates come from several: what selection has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.evaluation.intervals import Floats
from dreamprm.evaluation.scored_suite import ScoredSuite


@dataclass(frozen=True)
class BestGenerator:
    """The best single generator of a suite, and what it was chosen on: `development` or `test`."""

    name: str
    chosen_on: str


def generator_outcomes(suite: ScoredSuite) -> dict[str, Floats]:
    """(Q,) mean of `correct` over each generator's own candidates; NaN for a question it did not answer.

    Empty where the candidates come from one generator, or do not name theirs.
    """
    names = list(
        dict.fromkeys(
            one.generator
            for record in suite.records
            for one in record.candidates
            if one.generator is not None
        )
    )
    if len(names) < 2:
        return {}
    outcomes = {name: np.full(len(suite.records), np.nan) for name in names}
    for question, (record, row) in enumerate(zip(suite.records, suite.correct, strict=True)):
        for name in names:
            own = [right for one, right in zip(record.candidates, row, strict=True) if one.generator == name]
            if own:
                outcomes[name][question] = np.mean(own)
    return outcomes


def best_generator(
    suite: ScoredSuite,
    development: Sequence[ScoredSuite] = (),
) -> BestGenerator | None:
    """The generator with the highest mean accuracy, chosen on the development suites where they allow it.

    Only generators that answered every question take part: one that answered the easy ones alone would win
    unfairly. The development suites must hold all of those of `suite`; else, and without any, the choice is
    made on the suite itself, so that its accuracy is a little too high. Of equals the first counts.

    Returns: the generator; None where the suite's candidates come from one, or none answered everything.
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
