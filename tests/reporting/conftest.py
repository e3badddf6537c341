"""A made-up run folder, as a sandbox run would leave it."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from array_suites import array_suite, evaluated
from experiment_scripts import load_script

from dreamprm.evaluation.scored_suite import ScoredSuite

QUALITY = {
    "charts_bars": 0.97,
    "charts_stacked": 0.95,
    "charts_shuffled": 0.58,
    "charts_swapped": 0.33,
    "geometry_rectangles": 0.96,
    "geometry_triangles": 0.95,
    "geometry_wrong_key": 0.12,
    "geometry_easy": 0.05,
    "science_gauges": 0.98,
    "science_shuffled_all": 0.47,
    "science_wrong_key": 0.15,
    "commonsense_easy": 0.07,
    "commonsense_counting": 0.94,
    "commonsense_swapped": 0.36,
    "commonsense_shuffled": 0.6,
}
SUITES = ("held_out", "new_values", "styles", "reasoner", "two_ops", "mixed_skills")
STRENGTHS = {"base_likelihood": 0.1, "base_head": 0.0, "vanilla": 1.2, "dreamprm": 3.0}


def suite(seed: int) -> ScoredSuite:
    generator = np.random.default_rng(seed)
    correct = generator.random((200, 8)) < generator.beta(1.5, 2, (200, 1))
    answers = [["7" if ok else str(generator.integers(1, 4)) for ok in row] for row in correct]
    scores = {
        name: strength * correct + generator.normal(size=correct.shape)
        for name, strength in STRENGTHS.items()
    }
    return array_suite(correct, answers, scores)


def write_run(folder: Path, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    for name, text in run_files(seed).items():
        (folder / name).write_text(text)
    return folder


@functools.cache
def run_files(seed: int) -> dict[str, str]:
    generator = np.random.default_rng(seed)
    names = list(QUALITY)
    final = np.array(list(QUALITY.values())) * 1.6 + 0.15 + generator.normal(0, 0.08, 15)
    weights, metrics = [], []
    for window in range(1, 361):
        share = window / 360
        now = 1 + (final / final.mean() - 1) * share**0.6 + generator.normal(0, 0.01, 15)
        weights.append({"step": 5 * window, "weights": dict(zip(names, now / now.mean()))})
        metrics.append(
            {
                "step": 5 * window,
                "window": window,
                "inner_loss": 0.12 + 0.1 * np.exp(-4 * share) + generator.normal(0, 0.01),
                "meta_loss": 0.1 + 0.15 * np.exp(-3 * share) + generator.normal(0, 0.015),
                "lm_loss": 0.4 + np.exp(-5 * share) + generator.normal(0, 0.03),
                "lr": 2e-3,
                "upper_lr": 0.05,
                "seconds": 1.1 * window,
                "alpha_grad_norm": 0.02,
                "status": "ok",
            }
        )
    learned = weights[-1]["weights"]
    result = evaluated({name: suite(k + 10 * seed) for k, name in enumerate(SUITES)}, mean_over=SUITES[1:])
    for key in ("best_of_n", "intervals", "accuracy_by_n", "intervals_by_n"):
        del result[key]["first"]  # as runs had it that evaluated themselves
    entries = load_script("sandbox_targets").measured(
        {"estimator": "first_order", "weights": learned}, QUALITY, result
    )
    accuracy = {name: float(0.2 + 0.6 * quality) for name, quality in QUALITY.items()}
    gap = entries["differences"]["dreamprm-vanilla"]["mean"][0]
    summary = {
        "name": "sandbox",
        "seconds": 432.5,
        "seed": seed,
        "steps": 1800,
        "estimator": "first_order",
        "weights": learned,
        "generator_accuracy": accuracy,
        **entries,
        "vanilla_source": "live",
        "targets": {
            "spearman": {"target": 0.8, "measured": 0.94, "met": True},
            "dreamprm - vanilla, shifted": {"target": 0.04, "measured": gap, "met": bool(gap >= 0.04)},
        },
        "targets_met": True,
        "notes": ["The base model knows captions & sums; <b>PRM training</b> teaches it to verify."],
    }
    return {
        "summary.json": json.dumps(summary),
        "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in metrics),
        "domain_weights.jsonl": "".join(json.dumps(row) + "\n" for row in weights),
        "config.yaml": (
            f"name: sandbox\nseed: {seed}\nsteps: 1800\ndata:\n  meta: data/seed{seed}/meta.jsonl\n"
            "hypergrad:\n  name: first_order\n"
        ),
    }


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "sandbox")


@pytest.fixture(scope="session")
def run_writer() -> Callable[[Path], Path]:
    """Writes such a run into a folder that does not exist yet; for fixtures of any scope."""
    return write_run


@pytest.fixture
def make_run(tmp_path: Path):
    """make(name, seed=0, config={...}, **summary): a folder of this name, with these changes to its files.

    A change of None takes the entry out.
    """

    def make(name, seed=0, *, config=None, **changes):
        folder = write_run(tmp_path / "runs" / name, seed)
        held = json.loads((folder / "summary.json").read_text()) | {"name": name} | changes
        (folder / "summary.json").write_text(
            json.dumps({key: value for key, value in held.items() if value is not None})
        )
        settings = yaml.safe_load((folder / "config.yaml").read_text()) | {"name": name} | (config or {})
        (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        return folder

    return make


@pytest.fixture
def make_vanilla(make_run):
    """make(name, seed=0): the folder of a vanilla run."""

    def make(name, seed=0, **summary):
        weights = dict.fromkeys(QUALITY, 1.0)
        folder = make_run(
            name,
            seed,
            config={"hypergrad": {"name": "none"}},
            estimator="none",
            weights=weights,
            spearman=None,
            weight_ratio=None,
            targets=None,
            targets_met=None,
            generator_accuracy=None,
            **summary,
        )
        lines = [{"step": step, "weights": weights} for step in (5, 10)]
        (folder / "domain_weights.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make
