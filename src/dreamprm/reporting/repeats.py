"""Repetitions: runs of one training with different seeds, and evaluations of the same suites.

And the settings in which several runs differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import flat, is_below
from dreamprm.config.yaml_values import parse_yaml
from dreamprm.evaluation.number_text import MISSING, mean_members, number
from dreamprm.reporting.folders.evaluation import EvaluationFolder
from dreamprm.reporting.folders.run import Run
from dreamprm.training.settings import BESIDE_TRAINING

OWN = ("name", "output", "seed", "resume", "overwrite", "changed_inputs", "evaluation")
"""Settings that are specific to each run: they say nothing about what was trained. Runs of version 0.1 have
a section `evaluation`."""


def seed_of(run: Run) -> int | None:
    """The run's seed; None if its summary has none."""
    seed = number(run.summary.get("seed"))
    return int(seed) if seed.is_integer() else None


def seed_groups(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Groups of runs that differ only in their seeds, in the order of their first runs.

    A path that names the run's own seed (data/sandbox/seed0) counts as the same in each run. A run without
    config.yaml is in no group: what it shares with others is unknown. A group has at least two seeds.

    Raises: DataError if a config.yaml is not a YAML mapping.
    """
    alike: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        if run.config is not None and seed_of(run) is not None:
            key = tuple(
                sorted(
                    (name, repr(value))
                    for name, value in settings(run).items()
                    if not is_below(name, (*OWN, *BESIDE_TRAINING))
                )
            )
            alike.setdefault(key, []).append(run)
    return [tuple(group) for group in alike.values() if len({seed_of(run) for run in group}) > 1]


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """{setting: its value in each run, None if it is absent} for the settings that differ between the runs.

    Name, output and seed are left out; a path that names the run's own seed counts as in `seed_groups`.
    Raises: DataError if a config.yaml is not a YAML mapping.
    """
    each = [settings(run) for run in runs]
    names = [name for name in dict.fromkeys(name for one in each for name in one) if not is_below(name, OWN)]
    rows = {name: [one.get(name) for one in each] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def settings(run: Run, *, star_seed: bool = True) -> dict[str, Any]:
    """Every setting of config.yaml by its full name (`hypergrad.name`, `data.train[0].path`), in its order.

    Args: star_seed: write `*` for the run's own seed in texts that name it (`data/sandbox/seed0`).
    Raises: DataError if the file is not a YAML mapping.
    """
    if run.config is None:
        return {}
    path = run.folder / "config.yaml"
    try:
        held = parse_yaml(run.config)
    except UserError as error:
        raise DataError(f"{path}: not YAML ({error}); the file is damaged") from error
    if not isinstance(held, Mapping):
        raise DataError(f"{path}: must be a mapping of settings, got {type(held).__name__}")
    if not star_seed:
        return dict(flat(held))
    seed = held.get("seed", seed_of(run))
    own = re.compile(rf"(seed[-_]?){re.escape(str(seed))}(?!\d)")
    return {name: own.sub(r"\1*", value) if isinstance(value, str) else value for name, value in flat(held)}


def shared_label(group: Sequence[Run], labels: Sequence[str]) -> str:
    """One name for the runs of a group: their common name with `*` for the seed, or all their names."""
    starred = {
        re.sub(rf"(seed[-_]?){seed_of(run)}(?!\d)", r"\1*", label)
        for run, label in zip(group, labels, strict=True)
    }
    return starred.pop() if len(starred) == 1 else ", ".join(labels)


def mean_and_range(values: Sequence[float], digits: int) -> str:
    """Mean (smallest to largest) of the finite values as text; "n/a" if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return MISSING
    mean = sum(finite) / len(finite)
    return f"{mean:.{digits}f} ({min(finite):.{digits}f} to {max(finite):.{digits}f})"


@dataclass(frozen=True)
class Repeated:
    """An accuracy over evaluations: mean, smallest, largest, and how many evaluations have it."""

    mean: float
    least: float
    most: float
    count: int


def repeated_evaluations(evaluations: Sequence[EvaluationFolder]) -> list[tuple[EvaluationFolder, ...]]:
    """Groups of two or more evaluations whose suites have the same names and sizes.

    Their means are over the same suites; sizes are the numbers of questions and candidates. Groups are in the
    order of their first evaluations. That the questions themselves are the same is not checked: the folders
    do not hold them.
    """
    alike: dict[str, list[EvaluationFolder]] = {}
    for one in evaluations:
        suites = sorted(
            (name, suite["questions"], sorted(suite["candidates"].items()))
            for name, suite in one.result["suites"].items()
        )
        key = (suites, sorted(mean_members(one.result)))
        alike.setdefault(repr(key), []).append(one)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def over_evaluations(results: Sequence[Mapping[str, Any]], selector: str, place: str) -> Repeated | None:
    """A selector's accuracy in a suite (or the mean over suites) over those evaluations that have it.

    Args:
        results: what each evaluation.json holds.
    Returns: None if none has it.
    """
    values = [
        result["best_of_n"][selector][place]
        for result in results
        if place in result["best_of_n"].get(selector, {})
    ]
    if not values:
        return None
    return Repeated(sum(values) / len(values), min(values), max(values), len(values))
