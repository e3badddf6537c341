"""Folders of evaluations whose texts a page could break on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dreamprm.config.loading import load_config
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.evaluation.steps.evaluate_steps import run_evaluate_steps
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig

MARKUP = "<b>a</b> & <script>document.title = 'taken'</script>"
"""Shown as it stands, or the page is not escaped."""
UNBROKEN = "x_{1}=" + "\\frac{" * 40 + "1" + "}" * 40
"""A word of 290 characters, which no line has room for."""
SUITES = ("mathvista", "a_suite_with_quite_a_long_name")
SUBSETS = ("gsm8k", "math", "olympiadbench", "omnimath")


def write_evaluation(folder: Path, *, questions: int = 12, total: int = 4) -> Path:
    """Two scorers on two suites of questions with images."""
    (folder / "images").mkdir(parents=True)
    for number, suite in enumerate(SUITES):
        draws = np.random.default_rng(number)
        records = [_candidates(folder, f"{suite}-{k}", draws, total) for k in range(questions)]
        _write(folder / f"{suite}.jsonl", records)
    settings = [
        f"suites={json.dumps({suite: str(folder / suite) + '.jsonl' for suite in SUITES})}",
        f"output={folder / 'evaluation'}",
        "resamples=100",
    ]
    run_evaluate(load_config(EvaluateConfig, None, settings))
    return folder / "evaluation"


def _candidates(folder: Path, name: str, draws: np.random.Generator, total: int) -> dict[str, Any]:
    path = folder / "images" / f"{name}.png"
    picture = Image.new("RGB", (160, 120), "white")
    ImageDraw.Draw(picture).rectangle(sorted(draws.integers(0, 100, 4).tolist()), fill="#3d6d99")
    picture.save(path)
    candidates = []
    for k in range(total):
        right = bool(draws.random() < 0.5)
        steps = [
            f"We restate: what does {MARKUP} show?",
            f"In the image {UNBROKEN} is seen.",
            "Background: the area of a rectangle is width times height.",
            "So the area is 4.",
            "Therefore the answer follows.",
        ]
        scores = {
            scorer: {"log_odds": (draws.normal(size=5) + gain * (2 * right - 1)).tolist()}
            for scorer, gain in (("vanilla", 0.2), ("dreamprm", 0.8))
        }
        candidates.append(
            {
                "text": "\n".join(steps),
                "steps": steps,
                "final_answer": "4" if right else str(5 + k),
                "correct": right,
                "generator": "one" if k % 2 else "two",
                "scores": scores,
            }
        )
    return {
        "id": name,
        "question": f"What is the area? {MARKUP} {UNBROKEN}",
        "images": [str(path)],
        "benchmark": "made up",
        "answer": "4",
        "candidates": candidates,
    }


def write_steps(folder: Path, *, records: int = 40) -> Path:
    """Two scorers on four subsets, and the difference between them."""
    folder.mkdir(parents=True)
    for number, subset in enumerate(SUBSETS):
        draws = np.random.default_rng(10 + number)
        _write(folder / f"{subset}.jsonl", [_scored(f"{subset}-{k}", draws) for k in range(records)])
    files = {subset: str(folder / f"{subset}.jsonl") for subset in SUBSETS}
    settings = [
        f"files={json.dumps(files)}",
        f"output={folder / 'steps'}",
        "resamples=100",
        "level=0.9",
        "baseline=vanilla",
    ]
    run_evaluate_steps(load_config(EvaluateStepsConfig, None, settings))
    return folder / "steps"


def _scored(name: str, draws: np.random.Generator) -> dict[str, Any]:
    first = int(draws.integers(0, 8))
    labels = [1.0 if k < first else 0.0 for k in range(4)]
    scores = {
        scorer: {"log_odds": (draws.normal(size=4) + gain * (2 * np.array(labels) - 1)).tolist()}
        for scorer, gain in (("vanilla", 0.5), ("dreamprm", 1.5))
    }
    return {
        "id": name,
        "question": name,
        "images": [],
        "domain": "d",
        "steps": ["a step"] * 4,
        "labels": labels,
        "rollouts": [None] * 4,
        "scores": scores,
    }


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
