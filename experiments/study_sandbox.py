"""The sandbox study: three seeds of the shipped configuration, and what changes when one choice changes.

    make study                                   all of it, over an hour on two cores
    make study ARGS=runs                         only the runs that are missing
    make study ARGS=tables                       only experiments/results/sandbox.{json,md}, of finished runs

Every run is `dreamprm train experiments/configs/sandbox.yaml` with the overrides below; finished runs are
kept and not repeated. Two run at a time, on a core each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "experiments/configs/sandbox.yaml"
SEEDS = (0, 1, 2)
# The shipped configuration trains the vanilla PRM beside it and takes both cores.
MAIN = "shipped"
VARIANTS: dict[str, list[str]] = {
    "unrolled": ["hypergrad={name: unrolled}"],
    # The shipped mean_log_odds is the same as sum_log_odds with temperature=5: every CoT has five steps.
    "sum_log_odds": ["aggregation=sum_log_odds"],
    # A vanilla step takes 0.70 of a DreamPRM step (208 s and 296 s for 1,300 of them, side by side).
    "vanilla, equal compute": ["hypergrad={name: none}", "steps=2130"],
}
SUITES = ("heldout", "combinations", "styles", "reasoner", "two_ops", "mixed")


def folder(name: str, seed: int) -> Path:
    return ROOT / "runs" / "study" / f"{name.replace(', ', '-').replace(' ', '')}-seed{seed}"


def train(name: str, seed: int, overrides: list[str]) -> None:
    """One run, unless it is finished."""
    target = folder(name, seed)
    if (target / "summary.json").exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dreamprm", "train", CONFIG, f"seed={seed}",
               f"output={target.relative_to(ROOT)}", "log.progress=lines", *overrides]
    print(" ".join(command[3:]), flush=True)
    with target.with_suffix(".log").open("w") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=True)


def run_all() -> None:
    """The shipped runs one after the other, then the variants two at a time."""
    for seed in SEEDS:
        train(MAIN, seed, [])
    jobs = [(name, seed, [*overrides, "evaluation.vanilla=none", "evaluation.base=false"])
            for name, overrides in VARIANTS.items() for seed in SEEDS]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(train, *job) for job in jobs]:
            future.result()


def summary(name: str, seed: int) -> dict[str, Any] | None:
    path = folder(name, seed) / "summary.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_tables() -> None:
    """experiments/results/sandbox.json (every figure) and sandbox.md (the tables)."""
    found = {(name, seed): result for name in (MAIN, *VARIANTS) for seed in SEEDS
             if (result := summary(name, seed)) is not None}
    kept = ("seed", "steps", "seconds", "estimator", "aggregation", "spearman", "weight_ratio", "weights",
            "quality", "best_of_n", "intervals", "differences", "targets", "targets_met")
    record = {name: {str(seed): {key: found[name, seed][key] for key in kept if key in found[name, seed]}
                     for seed in SEEDS if (name, seed) in found}
              for name in (MAIN, *VARIANTS)}
    results = ROOT / "experiments" / "results"
    results.mkdir(exist_ok=True)
    (results / "sandbox.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = ["# The sandbox in figures", "",
             "Made by `make study` (`python experiments/study_sandbox.py`) from "
             "`experiments/configs/sandbox.yaml`; every figure is in `sandbox.json` beside this page. "
             "Accuracies are best-of-8 in percent.", ""]
    lines += _targets(found) + _accuracies(found) + _variants(found) + _weights(found)
    (results / "sandbox.md").write_text("\n".join(lines) + "\n")


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + " --- |" * len(cells)]


def _percent(values: list[float]) -> str:
    shown = " / ".join(f"{100 * value:.1f}" for value in values)
    return f"{shown} (mean {100 * mean(values):.1f})" if len(values) > 1 else shown


def _targets(found: dict[Any, Any]) -> list[str]:
    runs = [found[MAIN, seed] for seed in SEEDS if (MAIN, seed) in found]
    if not runs:
        return []
    lines = ["## Targets, shipped configuration", "",
             *_head("target", "at least", *(f"seed {run['seed']}" for run in runs))]
    for name, first in runs[0]["targets"].items():
        measured = [run["targets"][name] for run in runs]
        cells = [f"{entry['measured']:.3f}{'' if entry['met'] else ' (missed)'}" for entry in measured]
        lines.append(_row(name, f"{first['target']:.2f}", *cells))
    lines.append(_row("seconds of `dreamprm train`", "", *(f"{run['seconds']:.0f}" for run in runs)))
    differences = [[100 * x for x in run["differences"]["dreamprm-vanilla"]["mean"]] for run in runs]
    gains = " / ".join(f"{gain:.1f} [{low:.1f}, {high:.1f}]" for gain, low, high in differences)
    return [*lines, "",
            f"Mean of the shifted suites, DreamPRM minus vanilla, points with 95 % interval: {gains}.", ""]


def _accuracies(found: dict[Any, Any]) -> list[str]:
    runs = [found[MAIN, seed] for seed in SEEDS if (MAIN, seed) in found]
    if not runs:
        return []
    lines = ["## Accuracy by selector", "",
             "Seeds 0 / 1 / 2. `mean` is over the five shifted suites.", "",
             *_head("selector", *SUITES, "mean")]
    for selector in runs[0]["best_of_n"]:
        lines.append(_row(selector, *(_percent([run["best_of_n"][selector][suite] for run in runs])
                                      for suite in (*SUITES, "mean"))))
    return [*lines, ""]


def _variants(found: dict[Any, Any]) -> list[str]:
    lines = ["## One choice changed", "", "DreamPRM's own figures, seeds as far as they were run.", "",
             *_head("variant", "seeds", "heldout", "mean of shifted", "rank correlation",
                    "clean / bad weight", "seconds")]
    for name in (MAIN, *VARIANTS):
        runs = [found[name, seed] for seed in SEEDS if (name, seed) in found]
        if runs:
            lines.append(_row(
                name, " / ".join(str(run["seed"]) for run in runs),
                *(_percent([run["best_of_n"]["dreamprm"][suite] for run in runs])
                  for suite in ("heldout", "mean")),
                " / ".join(f"{run.get('spearman', 0):.2f}" for run in runs),
                " / ".join(f"{run.get('weight_ratio', 0):.1f}" for run in runs),
                " / ".join(f"{run['seconds']:.0f}" for run in runs)))
    return [*lines, "", "Seconds of the shipped runs include the vanilla PRM trained beside them, those of "
            "the variants another variant on the other core.", ""]


def _weights(found: dict[Any, Any]) -> list[str]:
    runs = [found[MAIN, seed] for seed in SEEDS if (MAIN, seed) in found]
    if not runs:
        return []
    lines = ["## Learned weights", "",
             *_head("domain", "planted quality", *(f"seed {run['seed']}" for run in runs))]
    for domain, quality in sorted(runs[0]["quality"].items(), key=lambda item: -item[1]):
        lines.append(_row(domain, f"{quality:.2f}", *(f"{run['weights'][domain]:.2f}" for run in runs)))
    return [*lines, ""]


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["runs", "tables"]
    unknown = set(wanted) - {"runs", "tables"}
    if unknown:
        sys.exit(f"unknown part {', '.join(sorted(unknown))}; give runs, tables, or nothing for both")
    if "runs" in wanted:
        run_all()
    if "tables" in wanted:
        write_tables()
