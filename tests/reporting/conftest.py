"""A made-up run folder, as a sandbox run would leave it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dreamprm.evaluation import CandidateScores, evaluate_suites, weight_summary

QUALITY = {
    "charts_bars": 0.97, "charts_stacked": 0.95, "charts_shuffled": 0.58, "charts_swapped": 0.33,
    "geometry_rectangles": 0.96, "geometry_triangles": 0.95, "geometry_wrong_key": 0.12,
    "geometry_easy": 0.05,
    "science_gauges": 0.98, "science_shuffled_all": 0.47, "science_wrong_key": 0.15,
    "commonsense_easy": 0.07, "commonsense_counting": 0.94, "commonsense_swapped": 0.36,
    "commonsense_shuffled": 0.6,
}
SUITES = ("held_out", "new_values", "styles", "reasoner", "two_ops", "mixed_skills")
STRENGTHS = {"base_likelihood": 0.1, "base_head": 0.0, "vanilla": 1.2, "dreamprm": 3.0}


def suite(seed: int) -> CandidateScores:
    generator = np.random.default_rng(seed)
    correct = generator.random((200, 8)) < generator.beta(1.5, 2, (200, 1))
    answers = [["7" if ok else str(generator.integers(1, 4)) for ok in row] for row in correct]
    scores = {
        name: strength * correct + generator.normal(size=correct.shape)
        for name, strength in STRENGTHS.items()
    }
    return CandidateScores(correct, answers, scores)


def write_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = list(QUALITY)
    final = np.array(list(QUALITY.values())) * 1.6 + 0.15 + generator.normal(0, 0.08, 15)
    weights, metrics = [], []
    for window in range(1, 361):
        share = window / 360
        now = 1 + (final / final.mean() - 1) * share**0.6 + generator.normal(0, 0.01, 15)
        weights.append({"step": 5 * window, "weights": dict(zip(names, now / now.mean()))})
        metrics.append({
            "step": 5 * window, "window": window,
            "inner_loss": 0.12 + 0.1 * np.exp(-4 * share) + generator.normal(0, 0.01),
            "meta_loss": 0.1 + 0.15 * np.exp(-3 * share) + generator.normal(0, 0.015),
            "lm_loss": 0.4 + np.exp(-5 * share) + generator.normal(0, 0.03),
            "lr": 2e-3, "upper_lr": 0.05, "seconds": 1.1 * window, "alpha_grad_norm": 0.02, "status": "ok"})
    learned = weights[-1]["weights"]
    entries = evaluate_suites({name: suite(k) for k, name in enumerate(SUITES)}, shifted=SUITES[1:])
    gap = entries["differences"]["dreamprm-vanilla"]["mean"][0]
    summary = {
        "name": "sandbox", "seconds": 432.5, "seed": 0, "steps": 1800, **weight_summary(learned, QUALITY),
        "weights": learned, "quality": QUALITY, **entries, "vanilla_source": "live",
        "targets": {
            "spearman": {"target": 0.8, "measured": 0.94, "met": True},
            "dreamprm - vanilla, shifted": {"target": 0.04, "measured": gap, "met": bool(gap >= 0.04)}},
        "targets_met": True,
        "notes": ["The base model knows captions & sums; <b>PRM training</b> teaches it to verify."],
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    for name, rows in (("metrics.jsonl", metrics), ("domain_weights.jsonl", weights)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text("name: sandbox\nsteps: 1800\nhypergrad:\n  name: first_order\n")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "sandbox")


@pytest.fixture(scope="session")
def run_writer() -> Callable[[Path], Path]:
    """Writes such a run into a folder that does not exist yet; for fixtures of any scope."""
    return write_run
