"""Scored step records for the tests: made by hand, at random, or from real files with an oracle's scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamprm.data.records import StepRecord, to_json
from dreamprm.evaluation.steps import ScoredRecord, ScoredSteps

Labels = Sequence[float | None]


def record(
    labels: Labels,
    scores: Sequence[float] | dict[str, Sequence[float]],
    *,
    name: str = "r",
    question: int = 0,
    rollouts: Sequence[int | None] | None = None,
) -> ScoredRecord:
    """A record; scores alone are those of the scorer `s`."""
    by_name = scores if isinstance(scores, dict) else {"s": scores}
    return ScoredRecord(
        name,
        question,
        tuple(labels),
        tuple(rollouts or [None] * len(labels)),
        {scorer: tuple(values) for scorer, values in by_name.items()},
    )


def steps_of(*rows: tuple[Labels, Sequence[float]], **settings: Any) -> ScoredSteps:
    """Records of (labels, scores), each of a question of its own."""
    records = [record(*row, name=f"r{k}", question=k) for k, row in enumerate(rows)]
    return ScoredSteps.of(records, **settings)


def random_steps(
    seed: int,
    records: int = 40,
    *,
    decimals: int = 1,
    questions: int | None = None,
) -> ScoredSteps:
    """Records with 1 to 6 steps and many equal scores, which lean towards the labels."""
    generator = np.random.default_rng(seed)
    made = []
    for k in range(records):
        n = int(generator.integers(1, 7))
        first = int(generator.integers(0, 2 * n))
        labels = [1.0 if i < first else 0.0 for i in range(n)]
        scores = np.round(np.array(labels) + generator.normal(size=n), decimals).tolist()
        made.append(record(labels, scores, name=f"r{k}", question=k % (questions or records)))
    return ScoredSteps.of(made)


def write_scored(
    path: Path,
    records: Iterable[StepRecord],
    score: Callable[[StepRecord], dict[str, Any]],
) -> Path:
    """Step records as JSON Lines with `scores` beside `labels`; `score` gives log-odds by scorer."""
    with path.open("w", encoding="utf-8") as file:
        for one in records:
            scores = {name: {"log_odds": list(values)} for name, values in score(one).items()}
            file.write(json.dumps(to_json(one) | {"scores": scores}) + "\n")
    return path


def first_zero(labels: Labels) -> int:
    """The index of the first 0, -1 where there is none: the first error of labels without null."""
    return next((i for i, label in enumerate(labels) if label == 0), -1)
