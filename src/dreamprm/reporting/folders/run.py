"""A run folder, as `dreamprm train` leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.errors import DataError, UserError
from dreamprm.evaluation.number_text import number
from dreamprm.reporting.folders.files import file_text, object_lines, parse_object

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WeightHistory:
    """Domain weights over the run.

    Attributes: names (K), steps (W,) inner steps done, values (W, K); NaN if a line lacks a domain.
    """

    names: tuple[str, ...]
    steps: Floats
    values: Floats


@dataclass(frozen=True)
class Run:
    """A finished run, as recorded in its folder.

    Attributes:
        folder: the run folder.
        summary: the content of summary.json; keys that do not apply to this run are absent.
        metrics: {name: (W,) float} of metrics.jsonl, one value per line, NaN if a line lacks the name or its
            value is not a number.
        statuses: (W) status of each line, "" where absent.
        weights: domain_weights.jsonl; None if the run has none.
        config: text of config.yaml; None if absent.
    """

    folder: Path
    summary: Mapping[str, Any]
    metrics: Mapping[str, Floats]
    statuses: tuple[str, ...]
    weights: WeightHistory | None
    config: str | None

    @property
    def name(self) -> str:
        """The run's name, by default its folder's."""
        return str(self.summary.get("name") or self.folder.resolve().name)


def read_run(folder: str | Path) -> Run:
    """Read summary.json and metrics.jsonl, and domain_weights.jsonl and config.yaml if present.

    Raises: UserError if the folder or one of the first two files is missing; DataError for a file that
        does not parse, with file and line.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(
            f"no run folder at {path}; give a folder that `dreamprm train` wrote, such as runs/sandbox"
        )
    for name in ("summary.json", "metrics.jsonl"):
        if not (path / name).is_file():
            raise UserError(
                f"{path} has no {name}: it is not a run folder, or its training has not finished; "
                f"train to the end (an interrupted run resumes), then report"
            )
    summary = parse_object(path / "summary.json", file_text(path / "summary.json"), line=1)
    metrics, statuses = _columns(object_lines(path / "metrics.jsonl"))
    weights_file, config_file = path / "domain_weights.jsonl", path / "config.yaml"
    return Run(
        folder=path,
        summary=summary,
        metrics=metrics,
        statuses=statuses,
        weights=_history(weights_file) if weights_file.is_file() else None,
        config=file_text(config_file) if config_file.is_file() else None,
    )


def _columns(rows: list[dict[str, Any]]) -> tuple[dict[str, Floats], tuple[str, ...]]:
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "status"]
    columns = {name: np.array([number(row.get(name)) for row in rows]) for name in names}
    return columns, tuple(str(row.get("status", "")) for row in rows)


def _history(path: Path) -> WeightHistory | None:
    rows = object_lines(path)
    for index, row in enumerate(rows, start=1):
        if not isinstance(row.get("weights"), dict):
            raise DataError(
                f"{path}, object {index}: weights must be an object of domain: weight, got "
                f"{row.get('weights')!r}"
            )
    names = tuple(dict.fromkeys(name for row in rows for name in row["weights"]))
    if not names:
        return None
    return WeightHistory(
        names=names,
        steps=np.array([number(row.get("step")) for row in rows]),
        values=np.array([[number(row["weights"].get(name)) for name in names] for row in rows]),
    )
