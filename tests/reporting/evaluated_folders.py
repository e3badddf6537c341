"""Folders of evaluations as `dreamprm evaluate` leaves them: made by it, from candidates drawn by a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np

from dreamprm.config.loading import load_config
from dreamprm.evaluation import evaluate as command
from dreamprm.evaluation.settings import EvaluateConfig

STRENGTHS = {
    "base_likelihood": 0.05,
    "base_head": 0.0,
    "orm": 0.4,
    "vanilla": 0.3,
    "car": 0.33,
    "s1": 0.26,
    "meta_only": 0.18,
    "with_meta": 0.34,
    "random_weights": 0.28,
    "doremi": 0.31,
    "doge": 0.36,
    "dreamprm": 0.5,
}
"""Twelve scorers, and how far their scores of right candidates lie above those of wrong ones."""
OUTCOME = ("base_likelihood", "orm")  # one value a response
DIFFICULTY = {"wemath": (2.0, 2.0), "mathvista": (3.0, 2.0), "mathvision": (1.0, 3.5)}
"""Three suites and the beta distribution of a question's chance to be answered right."""


def write_suite(
    path: Path,
    seed: int,
    *,
    ability: tuple[float, float] = (2.0, 2.0),
    questions: int = 60,
    total: int = 8,
    strengths: Mapping[str, float] = STRENGTHS,
    several: bool = False,
    answers: int | None = None,
) -> str:
    """One suite of scored candidates as a file.

    Args:
        path: the file; its stem names the questions.
        seed: of the scores; answers too, unless `answers` is another seed for them.
        several: whether two generators wrote the candidates.
    """
    draws, scoring = np.random.default_rng(seed if answers is None else answers), np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for q in range(questions):
            share, rows = draws.beta(*ability), []
            for j in range(total):
                right = bool(draws.random() < share)
                answer = "4" if right else str(draws.integers(5, 8))
                scores = {}
                for name, strength in strengths.items():
                    steps = scoring.normal(size=1 if name in OUTCOME else 3) + strength * (2 * right - 1)
                    scores[name] = {"log_odds": np.round(steps, 4).tolist()}
                rows.append(
                    {
                        "text": f"{j} of {path.stem}{q}: {answer}",
                        "steps": ["a", "b", "c"],
                        "final_answer": answer,
                        "correct": right,
                        "scores": scores,
                        "generator": f"model {j % 2}" if several else None,
                    }
                )
            file.write(
                json.dumps(
                    {
                        "id": f"{path.stem}{q}",
                        "question": f"{path.stem}{q}?",
                        "images": [],
                        "benchmark": path.stem,
                        "answer": "4",
                        "candidates": rows,
                    }
                )
                + "\n"
            )
    return str(path)


def evaluated(output: Path, *settings: str) -> Path:
    """The folder of an evaluation with the settings given, without plots, which take most of the time."""
    config = load_config(EvaluateConfig, None, [f"output={output}", "resamples=200", *settings])
    with patch.object(command, "_write_plots"):
        command.run_evaluate(config)
    return output


def write_evaluation(folder: Path, *, seed: int = 0, questions: int = 40) -> Path:
    """Twelve scorers on three suites, one of two generators; one aggregation and one checkpoint are picked.

    Evaluations of other seeds have the same questions and answers, and other scores.
    """
    data = folder.parent / f"data_{folder.name}"
    data.mkdir(parents=True)
    for k, (name, ability) in enumerate(DIFFICULTY.items()):
        write_suite(
            data / f"{name}.jsonl",
            100 * seed + k,
            ability=ability,
            questions=questions,
            several=name == "mathvista",
            answers=k,
        )
    late = {**STRENGTHS, "dreamprm": 0.4}
    write_suite(data / "dev.jsonl", 100 * seed + 50, questions=questions, strengths=late, answers=50)
    suites = ", ".join(f"{name}: {data / name}.jsonl" for name in DIFFICULTY)
    return evaluated(
        folder,
        f"suites={{{suites}}}",
        f"development.dev={data}/dev.jsonl",
        "aggregations.vanilla=pick",
        f"seed={seed}",
    )
