"""Every selector's choice among the candidates of one suite, and what it earns with n of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dreamprm.evaluation.bootstrap import Floats, Integers
from dreamprm.evaluation.packed import PackedLogOdds, PackedPicks, PackedRecords, PackedScores
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.selector_names import BEST_GENERATOR, WEIGHTED, ordered_scorers
from dreamprm.evaluation.selectors import CandidateScores, first_accuracy
from dreamprm.evaluation.votes import weighted_vote_accuracy, winning_candidates

_CANDIDATES_AT_ONCE = 200_000  # whose steps are aggregated at a time


class Selection:
    """The selectors of one suite under fixed aggregations.

    Questions may have different numbers of candidates: at size n, a question with fewer enters with all
    that it has.

    Args:
        suite: the candidates.
        aggregations: the aggregation of each scorer to show, by scorer name.
        temperature: divides the aggregates; affects only weighted self-consistency.
        weighted: whether to include weighted self-consistency by each scorer.
        best_generator: the generator shown as the best single one, or None.
        seed: of sampled subsets (see `weighted_vote_accuracy`).
    """

    def __init__(
        self,
        suite: ScoredSuite,
        aggregations: Mapping[str, str],
        *,
        temperature: float = 1.0,
        weighted: bool = True,
        best_generator: str | None = None,
        seed: int = 0,
    ) -> None:
        self._suite, self._seed = suite, seed
        self.scores: dict[str, PackedScores] = {
            scorer: scores_of(suite, scorer, aggregation, temperature=temperature)
            for scorer, aggregation in aggregations.items()
        }
        sizes = np.array(suite.sizes)
        self._groups = {int(n): np.flatnonzero(sizes == n) for n in np.unique(sizes)}
        self._tables = {n: self._table(rows, n) for n, rows in self._groups.items()}
        self._best = None if best_generator is None else generator_outcomes(suite)[best_generator]
        scorers = ordered_scorers(list(self.scores))
        self.selectors = (
            "random",
            "first",
            "majority",
            *((BEST_GENERATOR,) if best_generator is not None else ()),
            *scorers,
            *((WEIGHTED + name for name in scorers) if weighted else ()),
            "oracle",
        )
        self._errors: dict[tuple[str, int], float] = {}

    @property
    def size(self) -> int:
        """N, the largest number of candidates of a question."""
        return max(self._groups)

    def outcome(self, selector: str, n: int) -> Floats:
        """(Q,) expected accuracy with n candidates (all of a question's candidates, if it has fewer).

        Raises: ValueError for an unknown selector, or n outside 1..N.
        """
        if not 1 <= n <= self.size:
            raise ValueError(f"n must be between 1 and the {self.size} candidates of a question, got {n}")
        if selector == BEST_GENERATOR and self._best is not None:
            return self._best
        result = np.zeros(len(self._suite.correct))
        errors = np.zeros(len(result))
        for total, rows in self._groups.items():
            table, own = self._tables[total], min(n, total)
            if selector == "first":
                result[rows] = first_accuracy(table.correct)
            elif selector.startswith(WEIGHTED):
                scores = table.scores[selector.removeprefix(WEIGHTED)]
                result[rows], errors[rows] = weighted_vote_accuracy(
                    table.answers, scores, table.correct, own, seed=self._seed
                )
            else:
                result[rows] = table.accuracy(selector, own)
        # Subsets are drawn independently for each question.
        self._errors[selector, n] = float(np.sqrt((errors**2).sum()) / len(errors))
        return result

    def standard_error(self, selector: str, n: int) -> float:
        """The standard error of the mean outcome due to sampling subsets; 0 if the outcome is exact."""
        return self._errors.get((selector, n), 0.0)

    def picks(self) -> Iterator[Mapping[str, Mapping[str, Any]]]:
        """For each question, by selector: the `candidates` it picks among all N, and its expected `accuracy`.

        All tied candidates are named; for a vote, all that gave a winning answer. Random, oracle and the best
        single generator have no rule that picks a candidate: only their accuracy is given.
        """
        return iter(self.all_picks())

    def all_picks(self) -> PackedPicks:
        """The same for all questions, to be read several times."""
        earned = {selector: self.outcome(selector, self.size) for selector in self.selectors}
        return PackedPicks(earned, self._chosen())

    def _chosen(self) -> Iterator[dict[str, list[int]]]:
        """For each question, the candidates that the selectors with a rule name among all N."""
        for question, votes in enumerate(self._suite.votes):
            chosen: dict[str, list[int]] = {
                "first": [0],
                "majority": winning_candidates(votes, np.zeros(len(votes))),
            }
            for scorer, scores in self.scores.items():
                values = scores[question]
                chosen[WEIGHTED + scorer] = winning_candidates(votes, values)
                chosen[scorer] = np.flatnonzero(values == values.max()).tolist()
            yield {selector: named for selector, named in chosen.items() if selector in self.selectors}

    def _table(self, rows: Integers, n: int) -> CandidateScores:
        return CandidateScores(
            correct=np.array([self._suite.correct[q] for q in rows], dtype=np.float64),
            answers=[self._suite.votes[q] for q in rows],
            scores={name: scores.table(rows, n) for name, scores in self.scores.items()},
        )


def scores_of(
    suite: ScoredSuite,
    scorer: str,
    aggregation: str,
    *,
    temperature: float = 1.0,
) -> PackedScores:
    """One vector per question with one score per candidate, A / temperature."""
    rows = suite.log_odds[scorer]
    if isinstance(rows, PackedLogOdds):
        return PackedScores(
            _aggregated(
                np.frombuffer(rows.values), np.frombuffer(rows.steps, np.int64), aggregation, temperature
            ),
            np.frombuffer(rows.candidates, np.int64),
        )
    flat = aggregate_candidates(
        [values for row in rows for values in row], aggregation=aggregation, temperature=temperature
    )
    return PackedScores(flat, [len(row) for row in rows])


def aggregate_candidates(
    log_odds: Sequence[Sequence[float]], *, aggregation: str, temperature: float = 1.0
) -> Floats:
    """(M,) float64 A / temperature of M candidates (`dreamprm.models.aggregation.aggregate_logit`).

    A scorer of whole responses (an ORM) has one value per candidate, which every aggregation leaves
    unchanged.

    Args:
        log_odds: each candidate's per-step log-odds, at least one.
        aggregation: one of `dreamprm.config.choices.AGGREGATIONS`.
        temperature: > 0.

    Raises:
        UserError: an unknown aggregation, or a temperature not above 0.
        ValueError: a candidate without values.
    """
    if not all(log_odds):
        raise ValueError("every candidate needs at least one value")
    counts = np.array([len(values) for values in log_odds], dtype=np.int64)
    steps = np.array([value for values in log_odds for value in values], dtype=np.float64)
    return _aggregated(steps, counts, aggregation, temperature)


def _aggregated(steps: Floats, counts: Integers, aggregation: str, temperature: float) -> Floats:
    """(M,) aggregates of M candidates, from all steps' values and the number of steps of each candidate."""
    import torch

    from dreamprm.models.aggregation import aggregate_logit

    result = np.empty(len(counts))
    ends = np.concatenate([[0], np.cumsum(counts)])
    for start in range(0, len(counts), _CANDIDATES_AT_ONCE):
        own = counts[start : start + _CANDIDATES_AT_ONCE]
        cot = torch.from_numpy(np.repeat(np.arange(len(own)), own))
        # A copy: what arrays share is not writable.
        values = torch.from_numpy(np.array(steps[ends[start] : ends[start + len(own)]]))
        result[start : start + len(own)] = aggregate_logit(
            values, cot, len(own), aggregation=aggregation, temperature=temperature
        ).numpy()
    return result


def generator_outcomes(suite: ScoredSuite) -> dict[str, Floats]:
    """(Q,) mean of `correct` over each generator's own candidates; NaN for a question it did not answer.

    Empty if all candidates come from one generator, or do not name theirs.
    """
    records = suite.records
    generators = (
        records.generators
        if isinstance(records, PackedRecords)
        else [tuple(one.generator for one in record.candidates) for record in records]
    )
    names = list(dict.fromkeys(name for row in generators for name in row if name is not None))
    if len(names) < 2:
        return {}
    outcomes = {name: np.full(len(suite.records), np.nan) for name in names}
    for question, (given, row) in enumerate(zip(generators, suite.correct, strict=True)):
        for name in names:
            own = [right for one, right in zip(given, row, strict=True) if one == name]
            if own:
                outcomes[name][question] = np.mean(own)
    return outcomes
