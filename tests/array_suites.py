"""Suites of scored candidates from arrays, and their evaluation without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamprm.data.records import Candidate, CandidateRecord
from dreamprm.evaluation.comparison import Evaluation
from dreamprm.evaluation.scored_suite import ScoredSuite
from dreamprm.evaluation.settings import ComparedPair, EvaluateConfig, SuiteFiles


def array_suite(
    correct: Any, answers: Sequence[Sequence[str | None]], scores: Mapping[str, Any]
) -> ScoredSuite:
    """Q questions of N candidates: outcomes (Q, N), answers as votes, and one value a candidate by scorer."""
    right = np.asarray(correct)
    records = tuple(
        CandidateRecord(
            f"question {q} ?",
            (),
            "made up",
            "right",
            tuple(
                Candidate(f"text {q} {n}", ("step",), answer, bool(right[q, n]), None)
                for n, answer in enumerate(row)
            ),
            f"q{q}",
        )
        for q, row in enumerate(answers)
    )
    return ScoredSuite(
        records,
        tuple(tuple(float(value) for value in row) for row in right),
        tuple(tuple(row) for row in answers),
        {
            name: tuple(tuple((float(value),) for value in row) for row in np.asarray(values))
            for name, values in scores.items()
        },
    )


def evaluated(
    suites: Mapping[str, ScoredSuite],
    *,
    mean_over: Sequence[str] = (),
    seed: int = 0,
    compare: Sequence[tuple[str, str]] = (("dreamprm", "vanilla"), ("dreamprm", "majority")),
) -> dict[str, Any]:
    """What `dreamprm evaluate` finds, with the settings it keeps for a report."""
    config = EvaluateConfig(
        output="nowhere",
        suites={name: SuiteFiles(path="nowhere") for name in suites},
        mean_over=list(mean_over),
        weighted=False,
        compare=[ComparedPair(*pair) for pair in compare],
        seed=seed,
    )
    return Evaluation(config, suites, {}).figures() | {"mean_over": list(mean_over) or list(suites)}
