"""Computes a benchmark's figures from per-question outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dreamprm.config.errors import DataError, UserError
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.figures import Figure
from dreamprm.formats.benchmarks.question_set import QuestionSet


def scores(benchmark: Benchmark, questions: QuestionSet, outcomes: Mapping[str, float]) -> dict[str, float]:
    """All figures of a benchmark as fractions; `benchmark.headline` names the one reported in papers.

    Args:
        benchmark: the benchmark.
        questions: all of its questions, those of a split or those of a named part.
        outcomes: by record id or published id: 1 right, 0 wrong, a grade, or the expected outcome of a
            selector. Every question needs one.

    Returns:
        {figure: value}; rates with a denominator of 0 are left out.

    Raises:
        DataError: a question without an outcome, or an outcome that belongs to no question.
        UserError: an outcome outside [0, 1].
    """
    figures = figures_of(benchmark, questions, outcomes)
    values = {name: float(figure.value()) for name, figure in figures.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def figures_of(
    benchmark: Benchmark, questions: QuestionSet, outcomes: Mapping[str, float]
) -> dict[str, Figure]:
    """The same figures before they are evaluated, so that questions can be resampled.

    Args, Raises: as in `scores`.
    """
    return dict(benchmark.figures(list(questions), _in_order(questions, outcomes)))


def _in_order(questions: QuestionSet, outcomes: Mapping[str, float]) -> list[float]:
    """The outcomes in the order of the questions."""
    found: dict[str, float] = {}
    for id, outcome in outcomes.items():
        if not 0 <= outcome <= 1:
            raise UserError(f"outcome of {id!r} must be in [0, 1], got {outcome!r}")
        found[questions.required(id).record.id] = float(outcome)
    missing = [question.published for question in questions if question.record.id not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(questions)} questions have no outcome, the first is "
            f"{missing[0]!r}; unanswered questions are wrong: give them 0, or leave them out of "
            "the questions and report that"
        )
    return [found[question.record.id] for question in questions]
