"""All figures of an evaluation, from suites of scored candidates: what evaluation.json holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamprm.config.errors import UserError, nearest
from dreamprm.evaluation.bootstrap import Bootstrap, PairedOutcomes, bootstrap_interval, mean_of
from dreamprm.evaluation.development_choices import (
    AggregationChoice,
    BestGenerator,
    CheckpointChoice,
    best_generator,
    choose_aggregation,
    choose_checkpoint,
    with_checkpoints,
)
from dreamprm.evaluation.number_text import MEAN
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.selection import Selection, generator_outcomes
from dreamprm.evaluation.selector_names import BEST_GENERATOR, WEIGHTED, is_scorer, ordered_scorers
from dreamprm.evaluation.selectors import subset_sizes
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.evaluation.significance import holm, paired_test

Suites = Mapping[str, ScoredSuite]


class Evaluation:
    """Everything that is computed from the test suites, given choices made without their answers.

    Args:
        config: the settings.
        suites: the test suites by name.
        development: the suites on which choices are made.
    Raises: UserError for scorers, sizes or pairs that the suites do not have.
    """

    def __init__(self, config: EvaluateConfig, suites: Suites, development: Suites) -> None:
        bootstrap = Bootstrap(config.seed, config.resamples, config.level)
        self.checkpoints: dict[str, CheckpointChoice] = {
            name: choose_checkpoint(
                name,
                members,
                config.aggregations.get(name, config.aggregation),
                suites,
                development,
                bootstrap=bootstrap,
            )
            for name, members in config.checkpoints.items()
        }
        suites, development = (with_checkpoints(held, self.checkpoints) for held in (suites, development))
        self.config, self.suites, self.development = config, suites, development
        self.scorers = chosen_scorers(config, [name for suite in suites.values() for name in suite.log_odds])
        self.choices: dict[str, AggregationChoice] = {
            name: choose_aggregation(
                name,
                config.aggregations.get(name, config.aggregation),
                suites,
                development,
                bootstrap=bootstrap,
            )
            for name in self.scorers
        }
        self.best: dict[str, BestGenerator | None] = {
            name: best_generator(suite, list(development.values())) for name, suite in suites.items()
        }
        self.selections = {name: self._selection(name) for name in suites}
        self.selectors = _in_order([selection.selectors for selection in self.selections.values()])
        self.sizes = {
            name: _sizes(config, name, selection.size) for name, selection in self.selections.items()
        }
        self._outcomes = {
            name: PairedOutcomes(
                {
                    (selector, n): selection.outcome(selector, n)
                    for selector in selection.selectors
                    for n in self.sizes[name]
                },
                bootstrap.draws(len(suites[name].records), index),
            )
            for index, (name, selection) in enumerate(self.selections.items())
        }

    def figures(self) -> dict[str, Any]:
        """Accuracies, intervals, differences, generators and choices as plain values, ready for JSON.

        Includes those of `accuracies`; `differences` has one entry per pair and suite, the mean over suites
        last.
        """
        errors: dict[str, dict[str, dict[str, float]]] = {}
        for selector in self.selectors:
            drawn = {
                name: {
                    str(n): error
                    for n in self.sizes[name]
                    if (error := selection.standard_error(selector, n)) > 0
                }
                for name, selection in self.selections.items()
            }
            if any(drawn.values()):
                errors[selector] = {name: row for name, row in drawn.items() if row}
        return self.accuracies(self.config.level) | {
            "monte_carlo_standard_errors": errors,
            "differences": self._differences(),
            "generators": {name: self._generators(name) for name in self.suites},
            "aggregations": {
                name: {
                    "aggregation": choice.aggregation,
                    "chosen": choice.chosen,
                    **({"development": choice.development} if choice.development else {}),
                }
                for name, choice in self.choices.items()
            },
            "checkpoints": {
                name: {"picked": choice.picked, "development": choice.development}
                for name, choice in self.checkpoints.items()
            },
        }

    def accuracies(self, level: float) -> dict[str, Any]:
        """Each selector's accuracy in each suite, as plain values.

        Returns:
            best_of_n {selector: {suite: accuracy with all N candidates}};
            intervals {selector: {suite: [lo, hi]}};
            accuracy_by_n {selector: {suite: {"1": accuracy, ...}}}, intervals_by_n likewise with [lo, hi].
            "mean" comes last, for selectors that all suites of `mean_over` have; over n, it has the n that
            all of them have.
        """
        result: dict[str, Any] = {"best_of_n": {}, "intervals": {}, "accuracy_by_n": {}, "intervals_by_n": {}}
        for selector in self.selectors:
            rows: dict[str, dict[str, Any]] = {key: {} for key in result}
            for place, members in self._places(selector):
                mean, interval = self._estimate(members, selector, None, level)
                rows["best_of_n"][place], rows["intervals"][place] = mean, interval
                shared = [n for n in self.sizes[members[0]] if all(n in self.sizes[m] for m in members)]
                by_n = {str(n): self._estimate(members, selector, n, level) for n in shared}
                rows["accuracy_by_n"][place] = {n: value[0] for n, value in by_n.items()}
                rows["intervals_by_n"][place] = {n: value[1] for n, value in by_n.items()}
            for key, row in rows.items():
                result[key][selector] = row
        return result

    def _selection(self, name: str) -> Selection:
        suite, best = self.suites[name], self.best[name]
        return Selection(
            suite,
            {
                scorer: choice.aggregation
                for scorer, choice in self.choices.items()
                if scorer in suite.log_odds
            },
            temperature=self.config.temperature,
            weighted=self.config.weighted,
            seed=self.config.seed,
            best_generator=None if best is None else best.name,
        )

    def _places(self, *selectors: str) -> list[tuple[str, list[str]]]:
        """The suites that have all of the selectors, and the mean if all the suites it covers have them."""
        having = [
            name
            for name, selection in self.selections.items()
            if all(selector in selection.selectors for selector in selectors)
        ]
        places = [(name, [name]) for name in having]
        members = self.config.mean_over or list(self.suites)
        return [*places, (MEAN, members)] if set(members) <= set(having) else places

    def _estimate(
        self,
        members: Sequence[str],
        selector: str,
        n: int | None,
        level: float,
    ) -> tuple[float, list[float]]:
        mean = mean_of([self._outcomes[name][selector, self._size(name, n)] for name in members])
        return mean.value, list(mean.interval(level))

    def _size(self, name: str, n: int | None) -> int:
        return self.selections[name].size if n is None else n

    def _differences(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for method, baseline in compared_pairs(self.config, self.selectors, self.scorers):
            for place, members in self._places(method, baseline):
                if place == MEAN and len(members) == 1:
                    continue  # the same test once more; Holm's correction would count it twice
                outcomes = [self._outcomes[name] for name in members]
                sizes = [self._size(name, None) for name in members]
                gain = mean_of([own[method, n] - own[baseline, n] for own, n in zip(outcomes, sizes)])
                test = paired_test(
                    [
                        own.per_question((method, n)) - own.per_question((baseline, n))
                        for own, n in zip(outcomes, sizes)
                    ],
                    seed=self.config.seed,
                )
                rows.append(
                    {
                        "method": method,
                        "baseline": baseline,
                        "suite": place,
                        "difference": gain.value,
                        "interval": list(gain.interval(self.config.level)),
                        "better": test.better,
                        "worse": test.worse,
                        "p": test.p,
                        "test": test.method,
                    }
                )
        for row, adjusted in zip(rows, holm([row["p"] for row in rows])):
            row["p_holm"] = adjusted
            row["significant"] = adjusted < 1.0 - self.config.level
        return rows

    def _generators(self, name: str) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for generator, values in generator_outcomes(self.suites[name]).items():
            answered = values[np.isfinite(values)]
            low, high = bootstrap_interval(
                answered, seed=self.config.seed, level=self.config.level, resamples=self.config.resamples
            )
            rows[generator] = {
                "accuracy": float(answered.mean()),
                "interval": [low, high],
                "questions": int(answered.size),
            }
        best = self.best[name]
        return {
            "accuracy": rows,
            "best": None if best is None else {"name": best.name, "chosen_on": best.chosen_on},
        }


def chosen_scorers(config: EvaluateConfig, names: Sequence[str]) -> list[str]:
    """The scorers to compare, of those that the suites have.

    Raises: UserError for one that no suite has, or that has a selector's name.
    """
    there = ordered_scorers(names)
    for name in (*config.scorers, *config.aggregations):
        if name not in there:
            raise UserError(
                f"no suite holds scores of {name!r}{nearest(name, there)}; the scorers are "
                f"{', '.join(there) or 'none'}"
            )
    wanted = [name for name in there if name in config.scorers] if config.scorers else there
    for name in wanted:
        if not is_scorer(name):
            raise UserError(
                f"a scorer is named {name!r}, which is the name of a selector; score again under another name"
            )
    return wanted


def _sizes(config: EvaluateConfig, name: str, size: int) -> tuple[int, ...]:
    beyond = [n for n in config.sizes if n > size]
    if beyond:
        raise UserError(
            f"sizes holds {beyond[0]}, but suite {name} has {size} candidates per question; remove it"
        )
    return tuple(sorted({*config.sizes, size})) if config.sizes else subset_sizes(size)


def compared_pairs(
    config: EvaluateConfig,
    selectors: Sequence[str],
    scorers: Sequence[str],
) -> list[tuple[str, str]]:
    """(method, baseline) of the pairs whose difference is tested.

    Raises: UserError for a name that is not among the selectors.
    """
    given = [(pair.method, pair.baseline) for pair in config.compare]
    for name in (name for pair in given for name in pair):
        if name not in selectors:
            raise UserError(
                f"compare names {name!r}{nearest(name, selectors)}; the selectors are {', '.join(selectors)}"
            )
    if given:
        return list(dict.fromkeys(given))
    pairs = [(name, "majority") for name in scorers]
    if BEST_GENERATOR in selectors:
        pairs += [(name, BEST_GENERATOR) for name in scorers]
    if "dreamprm" in scorers:
        pairs += [("dreamprm", name) for name in scorers if name != "dreamprm"]
    return pairs


def _in_order(rows: Sequence[Sequence[str]]) -> list[str]:
    """The selectors of all suites in one order, the same as within each suite."""
    there = {name for row in rows for name in row}
    scorers = ordered_scorers([name for row in rows for name in row if is_scorer(name)])
    order = [
        "random",
        "first",
        "majority",
        BEST_GENERATOR,
        *scorers,
        *(WEIGHTED + name for name in scorers),
        "oracle",
    ]
    return [name for name in order if name in there]
