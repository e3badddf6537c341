"""Many training runs on the sandbox, two at a time; finished ones are kept and not repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from sandbox_chain import CONFIGS, SHIFTED, SUITES, score
from sandbox_targets import add_to_summary
from stages import ROOT, Stage

from dreamprm.config.loading import changed_keys, load_config
from dreamprm.training.settings import TrainConfig

RESULTS = ROOT / "experiments" / "results"
CONFIG = f"{CONFIGS}/train.yaml"
SEEDS = (0, 1, 2)
# The shipped configuration: `make train`, which trains the vanilla PRM next to it and takes both cores.
SHIPPED = "shipped"
# A vanilla step takes 0.70 to 0.73 of a DreamPRM step (208 s and 296 s for 1,300 of them, 315 s and 434 s for
# 1,500, side by side), with the meta loss that it takes only to log it.
EQUAL_COMPUTE = ["hypergrad={name: none}", "steps=2130"]


def folder(name: str, seed: int) -> Path:
    """The run folder of a variant and a seed."""
    return ROOT / "runs" / "study" / f"{name.replace(', ', '-').replace(' ', '')}-seed{seed}"


def world(seed: int) -> Path:
    """The folder of a seed's generated world."""
    return Path("data/sandbox") / f"seed{seed}"


def command(*words: str, log: Path) -> None:
    """Run `dreamprm WORDS` (or `python experiments/... WORDS`), its output in a file.

    Raises: CalledProcessError if it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    stage = Stage(log.stem, words if words[0] == "python" else ("dreamprm", *words))
    print(stage.text(), flush=True)
    with log.open("w") as output:
        subprocess.run(
            stage.arguments(),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )


def train(name: str, seed: int, overrides: Iterable[str] = (), *, config: str = CONFIG) -> Path:
    """One run, unless it is finished; returns its folder.

    Raises: SystemExit if a finished run has other settings: its figures would appear under a wrong name.
    """
    target = folder(name, seed)
    settings = [f"seed={seed}", f"output={target.relative_to(ROOT)}", "log.progress=lines", *overrides]
    if not (target / "summary.json").exists():
        make_world(seed)
        command("train", config, *settings, log=target.with_suffix(".log"))
        return target
    changed = changed_keys(
        load_config(TrainConfig, target / "config.yaml"), load_config(TrainConfig, ROOT / config, settings)
    )
    if changed:
        sys.exit(
            f"{target} is a finished run of other settings ("
            + ", ".join(f"{key}: {there} there, {now} now" for key, (there, now) in changed.items())
            + "); move it away, and its scores in runs/study/scored, then start again"
        )
    return target


def make_world(seed: int) -> None:
    """The seed's generated world, unless it is there."""
    if not (ROOT / world(seed) / "sandbox.json").exists():
        log = ROOT / "runs" / "study" / f"world-seed{seed}.log"
        command("sandbox", f"{CONFIGS}/world.yaml", f"seed={seed}", log=log)


def run_shipped(seed: int) -> Path:
    """`make train` of a seed, unless it is finished; returns the run folder.

    Raises: CalledProcessError if it fails, for instance on a finished run with other settings.
    """
    target = folder(SHIPPED, seed)
    command(
        *("python", "experiments/sandbox_chain.py", f"seed={seed}", f"output={target.relative_to(ROOT)}"),
        log=target.with_suffix(".log"),
    )
    return target


def score_suites(name: str, model: Path, seed: int, output: Path, *settings: str) -> None:
    """Score every suite of the seed's world with one PRM, unless that is done already."""
    if not (output / "summary.json").exists():
        words = score(
            name,
            str(model.relative_to(ROOT)),
            world=str(world(seed)),
            output=str(output.relative_to(ROOT)),
            settings=settings,
        )
        command(*words[1:], log=output.with_suffix(".log"))


def measure(run: Path, seed: int) -> None:
    """Score and evaluate a run's PRM on its own, and add its figures to its summary.json, unless it has them.

    The figures of a run of `make train` are there already.
    """
    summary = read_json(run / "summary.json")
    assert summary is not None, f"{run} is not finished"
    if "quality" in summary:
        return
    name = "vanilla" if summary["estimator"] == "none" else "dreamprm"
    evaluation = run / "evaluation"
    scored = evaluation / "scores" / name
    score_suites(name, run, seed, scored)
    suites = (f"{suite}={scored.relative_to(ROOT)}/{suite}.jsonl" for suite in SUITES)
    command(
        *("evaluate", f"output={evaluation.relative_to(ROOT)}", f"seed={seed}", "aggregation=mean_log_odds"),
        *("weighted=false", f"compare=[{{method: {name}, baseline: majority}}]"),
        f"mean_over=[{', '.join(SHIFTED)}]",
        *(f"suites.{suite}" for suite in suites),
        log=evaluation.with_suffix(".log"),
    )
    add_figures(run, seed, evaluation)


def add_figures(run: Path, seed: int, evaluation: Path | None = None) -> None:
    """Add to a run's summary.json the comparison of its weights with the planted quality, and an evaluation's
    figures."""
    summary = read_json(run / "summary.json")
    if summary is not None and "quality" not in summary:
        add_to_summary(run, ROOT / world(seed), evaluation)


def side_by_side(jobs: Iterable[Callable[[], Any]]) -> None:
    """Call the jobs in order, two at a time; the first error is raised after all started ones have ended."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()


def read_json(path: Path) -> dict[str, Any] | None:
    """A finished run's file; None if it does not exist."""
    return json.loads(path.read_text()) if path.exists() else None


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells: str) -> list[str]:
    """The first two lines of a Markdown table."""
    return [row(*cells), "|" + " --- |" * len(cells)]


def percent(values: list[float]) -> str:
    """The seeds' shares in percent, and their mean."""
    shown = " / ".join(f"{100 * value:.1f}" for value in values)
    return f"{shown} (mean {100 * mean(values):.1f})" if len(values) > 1 else shown


def main(runs: Callable[[], None], tables: Callable[[], None]) -> None:
    """Run the parts of a study that the command line names, `runs` or `tables`; both if it names none.

    Raises: SystemExit for an unknown part.
    """
    known = {"runs": runs, "tables": tables}
    wanted = sys.argv[1:] or list(known)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"unknown part {', '.join(unknown)}; give {', '.join(known)}, or nothing for both")
    for name, part in known.items():
        if name in wanted:
            part()
