"""The paper's comparison on the sandbox: learned weights against every baseline, three seeds.

    make study-baselines                 all of it: some three hours on two cores
    make study-baselines ARGS=tables     only the tables, of the seeds that are complete

`runs` trains what is missing, seed by seed: the shipped configuration with the vanilla PRM beside it, then
every baseline of experiments/configs/baselines/sandbox.yaml; `dreamprm score` lets each model score the
suites, and `dreamprm evaluate` compares them (runs/study/evaluation-seedS). `tables` writes
experiments/results/baselines.{json,md} of the seeds that are complete.

Nothing is tuned or chosen here: every baseline runs once, with its own defaults, under the settings of the
shipped configuration, and all PRMs are read with the aggregation that it trains with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from study_runs import (
    EQUAL_COMPUTE, RESULTS, ROOT, SEEDS, SHIPPED, command, folder, head, parts, read_json, row, side_by_side,
    train)

BASELINES = "experiments/configs/baselines/sandbox.yaml"
SUITES = ("heldout", "combinations", "styles", "reasoner", "two_ops", "mixed")
SHIFTED = SUITES[1:]
LONGER = "vanilla_longer"
MEANINGS: Mapping[str, str] = {
    "dreamprm": "learned weights, `first_order` (the shipped configuration)",
    "vanilla": "all weights 1, the same steps",
    LONGER: "all weights 1, as long as DreamPRM's run takes (2,130 steps instead of 1,500)",
    "orm": "one outcome label a CoT",
    "car": "vanilla on a set chosen by cluster-and-rank",
    "s1": "vanilla on a set chosen by quality, difficulty, diversity",
    "meta_only": "trained on the meta set alone",
    "with_meta": "vanilla, the meta set as one more domain",
    "random_weights": "the learned weights, dealt to the domains at random",
    "doge": "weights by the alignment of gradients with the meta set's",
    "doremi": "weights by excess loss over the vanilla PRM",
}
"""Every PRM of the study by its scorer's name, in the order of the tables and of training."""
UNTRAINED = ("random", "first", "majority", "oracle")


def baseline_settings(name: str, seed: int) -> list[str]:
    """The overrides of a baseline's training; its suites are scored afterwards."""
    scored_later = ["evaluation.suites={}", "evaluation.shifted=[]"]
    if name == LONGER:
        return [*scored_later, "baseline={name: none}", *EQUAL_COMPUTE]
    if name == "random_weights":
        learned = folder(SHIPPED, seed).relative_to(ROOT)
        return [*scored_later, f"baseline={{name: random_weights, run: {learned}}}"]
    return [*scored_later, f"baseline={{name: {name}}}"]


def model_folder(name: str, seed: int) -> Path:
    """The run folder of one of the study's PRMs."""
    if name == "dreamprm":
        return folder(SHIPPED, seed)
    return folder(SHIPPED, seed) / "vanilla" if name == "vanilla" else folder(name, seed)


def scored_folder(name: str, seed: int) -> Path:
    return ROOT / "runs" / "study" / "scored" / f"{name}-seed{seed}"


def score(name: str, seed: int) -> None:
    """Let one PRM score every suite, unless it has."""
    output, world = scored_folder(name, seed), Path("data/sandbox") / f"seed{seed}"
    if not (output / "summary.json").exists():
        command("score", f"model={model_folder(name, seed).relative_to(ROOT)}", f"name={name}", "threads=1",
                f"output={output.relative_to(ROOT)}", f"data.image_root={world}", "log.progress=lines",
                *(f"files.{suite}={world}/suites/{suite}.jsonl" for suite in SUITES),
                log=output.with_suffix(".log"))


def train_and_score(name: str, seed: int) -> None:
    train(name, seed, baseline_settings(name, seed), config=BASELINES)
    score(name, seed)


def evaluation_folder(seed: int) -> Path:
    return ROOT / "runs" / "study" / f"evaluation-seed{seed}"


def evaluate(seed: int) -> None:
    """All PRMs of a seed on the same candidates."""
    first, *others = (scored_folder(name, seed).relative_to(ROOT) for name in MEANINGS)
    output = evaluation_folder(seed)
    command("evaluate", f"output={output.relative_to(ROOT)}", "aggregation=mean_log_odds", f"seed={seed}",
            *(f"suites.{suite}={{path: {first}/{suite}.jsonl, "
              f"joined: [{', '.join(f'{other}/{suite}.jsonl' for other in others)}]}}" for suite in SUITES),
            log=output.with_suffix(".log"))


def jobs(seed: int) -> Iterator[Callable[[], None]]:
    """What can be done side by side once the shipped run of the seed is there; what takes long comes first."""
    for name in sorted(MEANINGS, key=lambda name: name not in ("doremi", "doge", LONGER)):
        yield partial(score if name in ("dreamprm", "vanilla") else train_and_score, name, seed)


def run_all() -> None:
    """Seed by seed, so that whatever is finished is a whole comparison."""
    for seed in SEEDS:
        train(SHIPPED, seed)
        side_by_side(jobs(seed))
        if not (evaluation_folder(seed) / "evaluation.json").exists():
            evaluate(seed)


def write_tables() -> None:
    """experiments/results/baselines.json (every figure) and baselines.md (the tables)."""
    found = {seed: result for seed in SEEDS
             if (result := read_json(evaluation_folder(seed) / "evaluation.json")) is not None}
    kept = ("best_of_n", "intervals", "accuracy_by_n", "differences")
    record = {str(seed): {key: result[key] for key in kept} | {
        "selected": {name: {key: selected[key] for key in ("of", "kept", "domains")}
                     for name in ("car", "s1")
                     if (selected := read_json(model_folder(name, seed) / "selected" / "report.json"))},
        "weights": {name: run["weights"] for name in MEANINGS
                    if (run := read_json(model_folder(name, seed) / "summary.json"))},
    } for seed, result in found.items()}
    (RESULTS / "baselines.json").write_text(json.dumps(record, indent=1) + "\n")
    seeds = ", ".join(map(str, found))
    lines = [
        "# Learned weights and their baselines on the sandbox", "",
        "Made by `make study-baselines`; every figure is in `baselines.json` beside this "
        f"page. Seeds {seeds}: each is another world, another base model and another training. Best of 8 "
        "candidates, accuracy in per cent; `shifted` is the mean of the five suites after `heldout`. Every "
        "PRM is read by the mean of its log-odds. Nothing was tuned or chosen for this table: each baseline "
        "runs once, with its defaults, under the shipped run's settings.", ""]
    lines += _accuracies(found) + _differences(found) + _what_they_are()
    (RESULTS / "baselines.md").write_text("\n".join(lines) + "\n")


Found = Mapping[int, Mapping[str, Any]]


def _accuracy(result: Mapping[str, Any], selector: str, suite: str) -> float:
    of_suite = result["best_of_n"][selector]
    return mean(of_suite[name] for name in SHIFTED) if suite == "shifted" else float(of_suite[suite])


def _accuracies(found: Found) -> list[str]:
    places = (*SUITES, "shifted")
    lines = ["## Accuracy", "", "Mean over the seeds, and for `heldout` and `shifted` each seed.", "",
             *head("selector", *places, "heldout by seed", "shifted by seed")]
    for selector in ("random", "first", "majority", *MEANINGS, "oracle"):
        by_place = {place: [_accuracy(result, selector, place) for result in found.values()]
                    for place in places}
        lines.append(row(
            f"**{selector}**" if selector == "dreamprm" else selector,
            *(f"{100 * mean(values):.1f}" for values in by_place.values()),
            *(" / ".join(f"{100 * value:.1f}" for value in by_place[place])
              for place in ("heldout", "shifted"))))
    return [*lines, ""]


def _differences(found: Found) -> list[str]:
    lines = ["## Learned weights against each of them", "",
             "Difference in points by seed, over the same questions. `*`: McNemar's test, p below 0.05 after "
             "Holm's correction over all pairs and suites of the evaluation.", "",
             *head("dreamprm minus", *SUITES)]
    for baseline in ("majority", *(name for name in MEANINGS if name != "dreamprm")):
        cells = []
        for suite in SUITES:
            rows = [next((one for one in result["differences"] if one["suite"] == suite
                          and (one["method"], one["baseline"]) == ("dreamprm", baseline)), None)
                    for result in found.values()]
            cells.append(" / ".join(
                "?" if one is None else f"{100 * one['difference']:+.1f}{'*' if one['significant'] else ''}"
                for one in rows))
        lines.append(row(baseline, *cells))
    return [*lines, ""]


def _what_they_are() -> list[str]:
    return ["## What they are", "", *head("scorer", "PRM"),
            *(row(name, meaning) for name, meaning in MEANINGS.items()), ""]


if __name__ == "__main__":
    wanted = parts(("runs", "tables"))
    if "runs" in wanted:
        run_all()
    if "tables" in wanted:
        write_tables()
