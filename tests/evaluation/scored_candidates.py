"""Scored candidates made up for tests: records as `dreamprm score` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def candidate(
    answer: str | None,
    correct: bool | None,
    *,
    generator: str | None = None,
    text: str | None = None,
    **log_odds: Sequence[float],
) -> dict[str, Any]:
    """A candidate of as many steps as its longest score has."""
    steps = [f"step {k}" for k in range(max((len(values) for values in log_odds.values()), default=1))]
    return {
        "text": text or f"Reasoning.\nFinal answer: {answer}",
        "steps": steps,
        "final_answer": answer,
        "correct": correct,
        "generator": generator,
        "scores": {name: {"log_odds": list(values)} for name, values in log_odds.items()},
    }


def record(id: str, candidates: Sequence[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A question whose right answer is 4."""
    return {
        "id": id,
        "question": f"{id}?",
        "images": [],
        "benchmark": "made up",
        "answer": "4",
        "candidates": list(candidates),
    } | fields


def write(path: Path, records: Sequence[dict[str, Any]]) -> str:
    """The records as a file."""
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return str(path)


def random_records(
    seed: int,
    *,
    questions: int = 40,
    total: int = 6,
    strength: dict[str, float] | None = None,
    generators: Sequence[str] = (),
    name: str = "q",
    ties: bool = False,
) -> list[dict[str, Any]]:
    """Questions of random difficulty; a scorer's log-odds are noise plus its strength for the right ones."""
    draws = np.random.default_rng(seed)
    records = []
    for q in range(questions):
        share, row = draws.random(), []
        for j in range(total):
            right = bool(draws.random() < share)
            answer = "4" if right else str(draws.integers(5, 8))
            scores = {}
            for scorer, gain in (strength or {"vanilla": 0.3, "dreamprm": 1.0}).items():
                steps = draws.normal(size=3) + gain * (2 * right - 1)
                scores[scorer] = (np.round(steps) if ties else np.round(steps, 4)).tolist()
            row.append(
                candidate(
                    answer,
                    right,
                    text=f"candidate {j} of {name}{q}: {answer}",
                    generator=generators[j % len(generators)] if generators else None,
                    **scores,
                )
            )
        records.append(record(f"{name}{q}", row))
    return records
