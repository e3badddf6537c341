"""The vanilla PRM with its own search on the sandbox: is the gain of learned weights just better tuning?

    python experiments/study_search.py            all of it, after the baselines' study: about half an hour
    python experiments/study_search.py tables     only the tables

Learned weights train with the shipped settings. Their steps and upper learning rate were chosen on other
worlds (seeds 3 and 4), the lower level's settings, which the vanilla PRM shares, on the clean domains and the
development set of seed 0 (experiments/results/looks.md). Here the vanilla PRM is tuned in every world itself:
half and twice the learning rate, 1.4 times and twice the steps; the most accurate of these five on the
world's development set is used. Nothing is chosen on the suites.
Runs: runs/study/; tables: experiments/results/vanilla_search.{json,md}.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from study_baselines import BASELINES, LONGER, model_folder, scored_folder
from study_runs import (
    RESULTS,
    ROOT,
    SEEDS,
    SUITES,
    command,
    folder,
    head,
    main,
    percent,
    read_json,
    row,
    score_suites,
    side_by_side,
    train,
    world,
)

TRIED: dict[str, list[str]] = {
    "vanilla_half_lr": ["inner.lr=7.5e-4"],
    "vanilla_twice_lr": ["inner.lr=3e-3"],
    "vanilla_twice_steps": ["steps=3000"],
}
CHOSEN_FROM = ("vanilla", LONGER, *TRIED)
SEARCHED = "vanilla_searched"


def place(name: str, seed: int) -> Path:
    return folder(name, seed) if name in TRIED else model_folder(name, seed)


def development_folder(name: str, seed: int) -> Path:
    return scored_folder(f"{name}-development", seed)


def train_and_score(name: str, seed: int) -> None:
    """Train what is missing; score the development set, and the suites if the baselines' study has not."""
    if name in TRIED:
        train(
            name,
            seed,
            [
                "baseline={name: none}",
                "hypergrad={name: none}",
                *TRIED[name],
            ],
            config=BASELINES,
        )
        score_suites(name, place(name, seed), seed, scored_folder(name, seed))
    development = f"files={{development: {world(seed)}/development.jsonl}}"
    score_suites(name, place(name, seed), seed, development_folder(name, seed), development)


def evaluation_folder(seed: int) -> Path:
    return ROOT / "runs" / "study" / f"search-seed{seed}"


def evaluate(seed: int) -> None:
    names = ("dreamprm", *CHOSEN_FROM)

    def joined(suite: str) -> str:
        """The suite's files of all scorers."""
        held = development_folder if suite == "development" else scored_folder
        first, *others = (f"{held(name, seed).relative_to(ROOT)}/{suite}.jsonl" for name in names)
        return f"{{path: {first}, joined: [{', '.join(others)}]}}"

    output = evaluation_folder(seed)
    command(
        "evaluate",
        f"output={output.relative_to(ROOT)}",
        "aggregation=mean_log_odds",
        f"seed={seed}",
        "weighted=false",
        *(f"suites.{suite}={joined(suite)}" for suite in SUITES),
        f"development.development={joined('development')}",
        f"checkpoints.{SEARCHED}=[{', '.join(CHOSEN_FROM)}]",
        f"compare=[{{method: dreamprm, baseline: {SEARCHED}}}]",
        log=output.with_suffix(".log"),
    )


def run_all() -> None:
    for seed in SEEDS:
        side_by_side(partial(train_and_score, name, seed) for name in (*TRIED, "dreamprm", "vanilla", LONGER))
        evaluate(seed)


def write_tables() -> None:
    """experiments/results/vanilla_search.json (every figure) and vanilla_search.md (the tables)."""
    found = {
        seed: result
        for seed in SEEDS
        if (result := read_json(evaluation_folder(seed) / "evaluation.json")) is not None
    }
    kept = ("best_of_n", "intervals", "differences", "checkpoints")
    (RESULTS / "vanilla_search.json").write_text(
        json.dumps(
            {str(seed): {key: result[key] for key in kept} for seed, result in found.items()}, indent=1
        )
        + "\n"
    )
    lines = [
        "# The vanilla PRM with a search of its own",
        "",
        "Made by `python experiments/study_search.py`; every figure is in `vanilla_search.json`, next to "
        f"this page. Best of 8, accuracy in percent, seeds {' / '.join(map(str, found))}.",
        "",
        "## On the development set",
        "",
        *head("tried", "accuracy", "chosen"),
    ]
    for name in CHOSEN_FROM:
        chosen = [
            str(seed) for seed, result in found.items() if result["checkpoints"][SEARCHED]["picked"] == name
        ]
        figures = [
            result["checkpoints"][SEARCHED]["development"][name]["accuracy"] for result in found.values()
        ]
        lines.append(row(name, percent(figures), f"seed {', '.join(chosen)}" if chosen else ""))
    lines += [
        "",
        "## On the suites",
        "",
        "`*`: McNemar's test, p below 0.05 after Holm's correction over the suites and their mean.",
        "",
        *head("suite", SEARCHED, "dreamprm", "difference in points"),
    ]
    for suite in SUITES:
        differences = [
            next(one for one in result["differences"] if one["suite"] == suite) for result in found.values()
        ]
        lines.append(
            row(
                suite,
                *(
                    percent([result["best_of_n"][name][suite] for result in found.values()])
                    for name in (SEARCHED, "dreamprm")
                ),
                " / ".join(
                    f"{100 * one['difference']:+.1f}{'*' if one['significant'] else ''}"
                    for one in differences
                ),
            )
        )
    (RESULTS / "vanilla_search.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(run_all, write_tables)
