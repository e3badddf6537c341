r"""What a run on the sandbox achieved: its weights compared with planted quality, its accuracies, its
targets.

    python experiments/sandbox_targets.py run=runs/sandbox world=data/sandbox/seed0 \
        evaluation=runs/sandbox/evaluation

Adds to RUN/summary.json the domains' planted quality with the weights' rank correlation, the accuracies of
the evaluation if one is given, and the targets if that compared learned weights with the vanilla PRM; prints
all of it. Training never reads the planted quality: this is the only place where the two meet.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.files.append_only import checked_text
from dreamprm.files.atomic import write_atomically
from dreamprm.reporting import final_table
from dreamprm.reporting.folders.evaluation import read_evaluation
from dreamprm.reporting.folders.files import whole_object
from dreamprm.reporting.run_figures import trained
from dreamprm.sandbox.targets import sandbox_targets, weight_summary

ACCURACIES = ("best_of_n", "intervals", "accuracy_by_n", "intervals_by_n")


def measured(
    summary: Mapping[str, Any], quality: Mapping[str, float], evaluation: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The entries to add to a run's summary.

    Args:
        summary: as written by the training.
        quality: planted quality by domain.
        evaluation: the content of evaluation.json, for suites that the run's PRM has scored.
    """
    entries: dict[str, Any] = {"quality": dict(quality)}
    if trained(summary).learned or set(summary["weights"]) == set(quality):
        # A baseline's selection may have lost domains, or added the meta set as one more.
        entries |= weight_summary(summary["weights"], quality)
    if evaluation is None:
        return entries
    entries |= {key: evaluation[key] for key in ACCURACIES}
    entries["shifted_suites"] = list(evaluation["mean_over"])
    differences: dict[str, dict[str, list[float]]] = {}
    for row in evaluation["differences"]:
        by_suite = differences.setdefault(f"{row['method']}-{row['baseline']}", {})
        by_suite[row["suite"]] = [row["difference"], *row["interval"]]
    entries["differences"] = differences
    selectors = evaluation["best_of_n"]
    if {"dreamprm", "vanilla"} <= set(selectors) and "heldout" in selectors["dreamprm"]:
        targets = sandbox_targets(entries)
        entries |= {
            "vanilla_source": "live",
            "targets": targets,
            "targets_met": all(target["met"] for target in targets.values()),
        }
    return entries


def read(path: Path) -> dict[str, Any]:
    """The content of a JSON file.

    Raises: UserError if it is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; run the command that writes it first")
    return whole_object(path)


def add_to_summary(run: Path, world: Path, evaluation: Path | None = None) -> dict[str, Any]:
    """Update RUN/summary.json and return it.

    Raises: UserError if a file is missing or damaged.
    """
    summary: dict[str, Any] = read(run / "summary.json")
    result = None if evaluation is None else read_evaluation(evaluation).result
    summary |= measured(summary, read(world / "sealed" / "quality.json"), result)
    if evaluation is not None and result is not None:
        # From the run's folder, so that the two can be moved together.
        summary["evaluation"] = os.path.relpath(evaluation, run)
        summary["suite_files"] = {name: f"{world}/suites/{name}.jsonl" for name in result["suites"]}
    clock = run / "logs" / "seconds.txt"  # written by the chain that the run is part of
    if clock.is_file():
        summary["seconds"] = float(clock.read_text())
    write_atomically(run / "summary.json", checked_text(json.dumps(summary, indent=2, ensure_ascii=False)))
    return summary


def main(arguments: list[str]) -> int:
    given = dict(one.partition("=")[::2] for one in arguments)
    if not {"run", "world"} <= set(given) <= {"run", "world", "evaluation"}:
        print("give run=FOLDER world=FOLDER [evaluation=FOLDER]", file=sys.stderr)
        return 2
    try:
        summary = add_to_summary(
            Path(given["run"]),
            Path(given["world"]),
            Path(given["evaluation"]) if "evaluation" in given else None,
        )
    except UserError as error:
        print(f"sandbox_targets: {error}", file=sys.stderr)
        return 2
    print(final_table(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
