"""The paper's comparison on the sandbox: learned weights against every baseline, three seeds.

    make study-baselines                 all of it: some three hours on two cores
    make study-baselines ARGS=tables     only the tables, of the seeds that are complete

`runs` trains what is missing, seed by seed: the shipped configuration with the vanilla PRM alongside, then
every baseline of experiments/configs/baselines/sandbox.yaml; `dreamprm score` lets each model score the
suites, and `dreamprm evaluate` compares them (runs/study/evaluation-seedS). `tables` writes
experiments/results/baselines.{json,md} of the seeds that are complete.

Nothing is tuned or chosen here: every baseline runs once in each world, with its own defaults, under the
settings of the shipped configuration, and all PRMs are read with the aggregation that it trains with.
Objections to the comparison are listed on its page (`OBJECTIONS`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from study_runs import (
    EQUAL_COMPUTE,
    RESULTS,
    ROOT,
    SEEDS,
    SHIFTED,
    SHIPPED,
    SUITES,
    add_figures,
    command,
    folder,
    head,
    main,
    read_json,
    row,
    run_shipped,
    score_suites,
    side_by_side,
    train,
)

BASELINES = "experiments/configs/baselines/sandbox.yaml"
LONGER = "vanilla_longer"
MEANINGS: Mapping[str, str] = {
    "dreamprm": "learned weights, `first_order` (the shipped configuration)",
    "vanilla": "all weights 1, the same steps",
    LONGER: "all weights 1, as long as DreamPRM's run takes (2,130 steps instead of 1,500)",
    "orm": "one outcome label per CoT",
    "car": "vanilla on a set chosen by cluster-and-rank",
    "s1": "vanilla on a set chosen by quality, difficulty, diversity",
    "meta_only": "trained on the meta set alone",
    "with_meta": "vanilla, the meta set as one more domain of the same weight",
    "random_weights": "the learned weights, randomly permuted over the domains",
    "doge": "weights by the alignment of gradients with the meta set's",
    "doremi": "weights by excess loss over the vanilla PRM",
}
"""Every PRM of the study by its scorer's name, in the order of the tables and of training."""
OBJECTIONS = (
    "**Choices.** Learned weights train with settings that were chosen in advance: steps and upper "
    "learning rate on two other worlds, by development set and by the rank correlation with the planted "
    "quality, which no user has; the other settings, and the world itself, on the development set and "
    "earlier suites of seed 0 (`looks.md`). The baselines keep their first defaults. Only the vanilla PRM "
    "gets a choice of its own (`study_search.py`).",
    "**The world.** Ten of fifteen domains are corrupted, eight of them to planted quality 0, and the meta "
    "set is drawn as the held-out questions are, with right labels: a setting in which weights matter. With "
    "good data, or a meta set of another kind, expect less. The model is small and the chains of thought "
    "are generated.",
    "**Chance of training.** Each PRM is trained once in each world. Intervals and `*` are about "
    "questions alone; the same training, repeated with sums in another order, moves by some points too "
    "(`looks.md`), so that a difference of a few points between two PRMs of one seed may be chance, `*` "
    "or not. Even three seeds that all agree give p = .25 by the two-sided sign test.",
    "**Compute.** Steps are equal, time is not: a step with learned weights takes as long as 1.4 vanilla "
    "ones, DoReMi needs the vanilla PRM first, DoGE takes three more forward passes per batch. Only "
    "`vanilla_longer` is matched to DreamPRM's time. All PRMs here would gain from more steps: with twice "
    "the steps the vanilla PRM of seed 0 is level on the shifted suites (`vanilla_search.md`).",
    "**The meta set's labels.** `with_meta` has the same labels as DreamPRM, but on every step of a CoT "
    "(right steps of a wrong CoT count as wrong), as one of sixteen equal domains, and draws 9,000 times "
    "from its 1,200 CoTs where the upper level draws 28,800 times. `meta_only` goes through them many "
    "times over. Another weight, or the label on the last step alone, may make more of them.",
    "**Random weights** are a single permutation of the learned ones in each world. The table of weights "
    "shows which domains it favours: where clean over corrupted is far below 1 it is a bad draw, worse than "
    "equal weights, and says little about other permutations. These weights apply from the first step, "
    "whereas learned ones start out equal.",
    "**Which weights help.** Rank correlation with the planted quality does not order the PRMs: at seeds 0 "
    "and 1 DoGE's is as high as that of learned weights and DoReMi's is negative, yet DoReMi's PRM is the "
    "better of the two.",
    "**CaR and s1** are stand-ins (their docstrings list the departures) that keep half of the CoTs. s1's "
    "filter of easy questions has two CoTs per question to go by, and leaves out what both get right, so "
    "that right CoTs are rarer in its set than overall. CaR ranks by a base model's likelihood, which tells "
    "right from wrong no better than chance here (`sandbox.md`).",
    "**Not run.** The clean domains alone (a ceiling), the learned weights from the first step "
    "(`fixed_weights`), domains dropped by their own meta loss, a smaller share of corrupted domains.",
)
"""Objections that a sceptical reader would raise against the comparison."""
UNTRAINED = ("random", "first", "majority", "oracle")


def baseline_settings(name: str, seed: int) -> list[str]:
    """The overrides of a baseline's training."""
    if name == LONGER:
        return ["baseline={name: none}", *EQUAL_COMPUTE]
    if name == "random_weights":
        learned = folder(SHIPPED, seed).relative_to(ROOT)
        return [f"baseline={{name: random_weights, run: {learned}}}"]
    if name == "doremi":
        vanilla = model_folder("vanilla", seed).relative_to(ROOT)
        return [f"baseline={{name: doremi, reference: {vanilla}}}"]
    if name == "meta_only":
        # The batch size counts a domain's CoTs: with one domain instead of 15, six would be all of a step.
        return ["baseline={name: meta_only}", "batch_size=90"]
    return [f"baseline={{name: {name}}}"]


def model_folder(name: str, seed: int) -> Path:
    """The run folder of one of the study's PRMs."""
    if name == "dreamprm":
        return folder(SHIPPED, seed)
    return folder(SHIPPED, seed) / "vanilla" if name == "vanilla" else folder(name, seed)


def scored_folder(name: str, seed: int) -> Path:
    return ROOT / "runs" / "study" / "scored" / f"{name}-seed{seed}"


def score(name: str, seed: int) -> None:
    """Score every suite with one PRM, unless that is done already."""
    score_suites(name, model_folder(name, seed), seed, scored_folder(name, seed))


def train_and_score(name: str, seed: int) -> None:
    add_figures(train(name, seed, baseline_settings(name, seed), config=BASELINES), seed)
    score(name, seed)


def evaluation_folder(seed: int) -> Path:
    return ROOT / "runs" / "study" / f"evaluation-seed{seed}"


def evaluate(seed: int) -> None:
    """All PRMs of a seed on the same candidates."""
    first, *others = (scored_folder(name, seed).relative_to(ROOT) for name in MEANINGS)
    output = evaluation_folder(seed)
    command(
        "evaluate",
        f"output={output.relative_to(ROOT)}",
        "aggregation=mean_log_odds",
        f"seed={seed}",
        *(
            f"suites.{suite}={{path: {first}/{suite}.jsonl, "
            f"joined: [{', '.join(f'{other}/{suite}.jsonl' for other in others)}]}}"
            for suite in SUITES
        ),
        log=output.with_suffix(".log"),
    )


def jobs(seed: int) -> Iterator[Callable[[], None]]:
    """What can run in parallel once the seed's shipped run is finished; the long ones come first."""
    for name in sorted(MEANINGS, key=lambda name: name not in ("doremi", "doge", LONGER)):
        yield partial(score if name in ("dreamprm", "vanilla") else train_and_score, name, seed)


def run_all() -> None:
    """Go seed by seed, so that each finished seed is a complete comparison."""
    for seed in SEEDS:
        run_shipped(seed)
        side_by_side(jobs(seed))
        if not (evaluation_folder(seed) / "evaluation.json").exists():
            evaluate(seed)


def write_tables() -> None:
    """experiments/results/baselines.json (every figure) and baselines.md (the tables)."""
    found = {
        seed: result
        for seed in SEEDS
        if (result := read_json(evaluation_folder(seed) / "evaluation.json")) is not None
    }
    kept = ("best_of_n", "intervals", "accuracy_by_n", "differences")
    record = {
        str(seed): {key: result[key] for key in kept}
        | {
            "selected": {
                name: {key: selected[key] for key in ("of", "kept", "domains")}
                for name in ("car", "s1")
                if (selected := read_json(model_folder(name, seed) / "selected" / "report.json"))
            },
            "weights": {
                name: run["weights"]
                for name in MEANINGS
                if (run := read_json(model_folder(name, seed) / "summary.json"))
            },
        }
        for seed, result in found.items()
    }
    (RESULTS / "baselines.json").write_text(json.dumps(record, indent=1) + "\n")
    seeds = ", ".join(map(str, found))
    lines = [
        "# Learned weights and their baselines on the sandbox",
        "",
        "Made by `make study-baselines`; every figure is in `baselines.json`, next to this "
        f"page. Seeds {seeds}: each is another world, another base model and another training. Best of 8 "
        "candidates, accuracy in percent; `shifted` is the mean of the five suites after `heldout`. Every "
        "PRM is read by the mean of its log-odds. Nothing was tuned or chosen for this table: each baseline "
        "runs once, with its defaults, under the shipped run's settings.",
        "",
    ]
    lines += _accuracies(found) + _differences(found) + _weights(found) + _what_they_are() + _objections()
    (RESULTS / "baselines.md").write_text("\n".join(lines) + "\n")


Found = Mapping[int, Mapping[str, Any]]


def _accuracy(result: Mapping[str, Any], selector: str, suite: str) -> float:
    of_suite = result["best_of_n"][selector]
    return mean(of_suite[name] for name in SHIFTED) if suite == "shifted" else float(of_suite[suite])


def _accuracies(found: Found) -> list[str]:
    places = (*SUITES, "shifted")
    lines = [
        "## Accuracy",
        "",
        "Mean over the seeds, and for `heldout` and `shifted` each seed.",
        "",
        *head("selector", *places, "heldout by seed", "shifted by seed"),
    ]
    for selector in ("random", "first", "majority", *MEANINGS, "oracle"):
        by_place = {
            place: [_accuracy(result, selector, place) for result in found.values()] for place in places
        }
        lines.append(
            row(
                f"**{selector}**" if selector == "dreamprm" else selector,
                *(f"{100 * mean(values):.1f}" for values in by_place.values()),
                *(
                    " / ".join(f"{100 * value:.1f}" for value in by_place[place])
                    for place in ("heldout", "shifted")
                ),
            )
        )
    return [*lines, ""]


def _differences(found: Found) -> list[str]:
    lines = [
        "## Learned weights against each of them",
        "",
        "Difference in points by seed, over the same questions. `*`: p below 0.05 after Holm's "
        "correction over all pairs and suites of the evaluation, by McNemar's test (against majority, "
        "whose ties earn shares, the sign-flip test). It is about other questions, not about another "
        "training.",
        "",
        *head("dreamprm minus", *SUITES),
    ]
    for baseline in ("majority", *(name for name in MEANINGS if name != "dreamprm")):
        cells = []
        for suite in SUITES:
            rows = [
                next(
                    (
                        one
                        for one in result["differences"]
                        if one["suite"] == suite
                        and (one["method"], one["baseline"]) == ("dreamprm", baseline)
                    ),
                    None,
                )
                for result in found.values()
            ]
            cells.append(
                " / ".join(
                    "?"
                    if one is None
                    else f"{100 * one['difference']:+.1f}{'*' if one['significant'] else ''}"
                    for one in rows
                )
            )
        lines.append(row(baseline, *cells))
    return [*lines, ""]


def _weights(seeds: Iterable[int]) -> list[str]:
    """Which domains are favoured by each run that has its own weights."""
    lines = [
        "## Weights",
        "",
        "At the end, by seed: the mean weight of the clean domains over that of the "
        "corrupted ones, and the rank correlation with the planted quality.",
        "",
        *head("scorer", "clean / corrupted weight", "rank correlation"),
    ]
    for name in ("dreamprm", "random_weights", "doge", "doremi"):
        runs = [run for seed in seeds if (run := read_json(model_folder(name, seed) / "summary.json"))]
        lines.append(
            row(
                name,
                " / ".join(f"{run['weight_ratio']:.2f}" for run in runs),
                " / ".join(f"{run['spearman']:.2f}" for run in runs),
            )
        )
    return [*lines, ""]


def _objections() -> list[str]:
    return ["## What may be said against it", "", *(f"- {objection}" for objection in OBJECTIONS), ""]


def _what_they_are() -> list[str]:
    return [
        "## What they are",
        "",
        *head("scorer", "PRM"),
        *(row(name, meaning) for name, meaning in MEANINGS.items()),
        "",
    ]


if __name__ == "__main__":
    main(run_all, write_tables)
