"""The sandbox study: three seeds of the shipped configuration, and what changes when one choice changes.

    make study                                   all of it, over an hour on two cores
    make study ARGS=runs                         only the runs that are missing
    make study ARGS=tables                       only experiments/results/sandbox.{json,md}, of finished runs

Every run is `make train`, or `dreamprm train experiments/configs/sandbox/train.yaml` with the overrides below
and the commands that score and evaluate it; finished runs are kept and not repeated. Two run at a time, on
one core each.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from study_runs import (
    EQUAL_COMPUTE,
    RESULTS,
    SEEDS,
    SHIPPED,
    folder,
    head,
    main,
    measure,
    percent,
    read_json,
    row,
    run_shipped,
    side_by_side,
    train,
)

VARIANTS: dict[str, list[str]] = {
    "unrolled": ["hypergrad={name: unrolled}"],
    # The shipped mean_log_odds is the same as sum_log_odds with temperature=5: every CoT has five steps.
    "sum_log_odds": ["aggregation=sum_log_odds"],
    "vanilla, equal compute": EQUAL_COMPUTE,
}
SUITES = ("heldout", "combinations", "styles", "reasoner", "two_ops", "mixed")


def run_all() -> None:
    """The shipped runs one after the other, then the variants two at a time."""
    for seed in SEEDS:
        run_shipped(seed)
    side_by_side(
        partial(train_and_measure, name, seed, overrides)
        for name, overrides in VARIANTS.items()
        for seed in SEEDS
    )


def train_and_measure(name: str, seed: int, overrides: list[str]) -> None:
    measure(train(name, seed, overrides), seed)


def summary(name: str, seed: int) -> dict[str, Any] | None:
    return read_json(folder(name, seed) / "summary.json")


def write_tables() -> None:
    """experiments/results/sandbox.json (every figure) and sandbox.md (the tables)."""
    found = {
        (name, seed): result
        for name in (SHIPPED, *VARIANTS)
        for seed in SEEDS
        if (result := summary(name, seed)) is not None
    }
    kept = (
        "seed",
        "steps",
        "seconds",
        "estimator",
        "aggregation",
        "spearman",
        "weight_ratio",
        "weights",
        "quality",
        "best_of_n",
        "intervals",
        "differences",
        "targets",
        "targets_met",
    )
    record = {
        name: {
            str(seed): {key: found[name, seed][key] for key in kept if key in found[name, seed]}
            for seed in SEEDS
            if (name, seed) in found
        }
        for name in (SHIPPED, *VARIANTS)
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sandbox.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        "# The sandbox in figures",
        "",
        "Made by `make study` (`python experiments/study_sandbox.py`) with the configuration that "
        "`make train` uses; every figure is in `sandbox.json`, next to this page. "
        "Accuracies are best-of-8 in percent.",
        "",
    ]
    lines += _targets(found) + _accuracies(found) + _variants(found) + _weights(found)
    (RESULTS / "sandbox.md").write_text("\n".join(lines) + "\n")


def _targets(found: dict[Any, Any]) -> list[str]:
    runs = [found[SHIPPED, seed] for seed in SEEDS if (SHIPPED, seed) in found]
    if not runs:
        return []
    lines = [
        "## Targets, shipped configuration",
        "",
        *head("target", "at least", *(f"seed {run['seed']}" for run in runs)),
    ]
    for name, first in runs[0]["targets"].items():
        measured = [run["targets"][name] for run in runs]
        cells = [f"{entry['measured']:.3f}{'' if entry['met'] else ' (missed)'}" for entry in measured]
        lines.append(row(name, f"{first['target']:.2f}", *cells))
    lines.append(
        row("seconds of `make train`, without set-up", "", *(f"{run['seconds']:.0f}" for run in runs))
    )
    differences = [[100 * x for x in run["differences"]["dreamprm-vanilla"]["mean"]] for run in runs]
    gains = " / ".join(f"{gain:.1f} [{low:.1f}, {high:.1f}]" for gain, low, high in differences)
    return [
        *lines,
        "",
        f"Mean of the shifted suites, DreamPRM minus vanilla, points with 95 % interval: {gains}.",
        "",
    ]


def _accuracies(found: dict[Any, Any]) -> list[str]:
    runs = [found[SHIPPED, seed] for seed in SEEDS if (SHIPPED, seed) in found]
    if not runs:
        return []
    lines = [
        "## Accuracy by selector",
        "",
        "Seeds 0 / 1 / 2. `mean` is over the five shifted suites.",
        "",
        *head("selector", *SUITES, "mean"),
    ]
    for selector in runs[0]["best_of_n"]:
        lines.append(
            row(
                selector,
                *(
                    percent([run["best_of_n"][selector][suite] for run in runs])
                    for suite in (*SUITES, "mean")
                ),
            )
        )
    return [*lines, ""]


def _variants(found: dict[Any, Any]) -> list[str]:
    lines = [
        "## One choice changed",
        "",
        "Figures of the PRM that the run trains (a vanilla one has no "
        "learned weights), seeds as far as they were run.",
        "",
        *head(
            "variant",
            "seeds",
            "heldout",
            "mean of shifted",
            "rank correlation",
            "clean / bad weight",
            "seconds",
        ),
    ]
    for name in (SHIPPED, *VARIANTS):
        runs = [found[name, seed] for seed in SEEDS if (name, seed) in found]
        if runs:
            lines.append(
                row(
                    name,
                    " / ".join(str(run["seed"]) for run in runs),
                    *(
                        percent([run["best_of_n"][_trained(run)][suite] for run in runs])
                        for suite in ("heldout", "mean")
                    ),
                    # Equal weights have no rank correlation with anything.
                    " / ".join(f"{run['spearman']:.2f}" for run in runs if run.get("spearman") is not None),
                    " / ".join(f"{run.get('weight_ratio', 0):.1f}" for run in runs),
                    " / ".join(f"{run['seconds']:.0f}" for run in runs),
                )
            )
    return [
        *lines,
        "",
        "Seconds of the shipped runs include the vanilla PRM trained alongside, those of "
        "the variants another variant on the other core.",
        "",
    ]


def _trained(run: dict[str, Any]) -> str:
    """The selector of the PRM that the run trains."""
    return "vanilla" if run["estimator"] == "none" else "dreamprm"


def _weights(found: dict[Any, Any]) -> list[str]:
    runs = [found[SHIPPED, seed] for seed in SEEDS if (SHIPPED, seed) in found]
    if not runs:
        return []
    lines = [
        "## Learned weights",
        "",
        *head("domain", "planted quality", *(f"seed {run['seed']}" for run in runs)),
    ]
    for domain, quality in sorted(runs[0]["quality"].items(), key=lambda item: -item[1]):
        lines.append(row(domain, f"{quality:.2f}", *(f"{run['weights'][domain]:.2f}" for run in runs)))
    return [*lines, ""]


if __name__ == "__main__":
    main(run_all, write_tables)
