"""The folder of a step-level evaluation, as `dreamprm evaluate-steps` leaves it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.formats.json_rows import raise_errors
from dreamprm.formats.table_files import read_table
from dreamprm.reporting.folders.files import check_keys, file_text, parse_object

RESULT, CURVES = "steps.json", "development_curves.csv"

_COMMAND = "dreamprm evaluate-steps"
_KEYS = ("settings", "subsets", "thresholds", "first_error", "auc", "calibration")
_SETTINGS = ("seed", "resamples", "level", "scope", "threshold_chosen_on", "development_subset")
_COLUMNS = ("scorer", "threshold_log_odds", "f1")


@dataclass(frozen=True)
class DevelopmentCurve:
    """F1 on the development set over the thresholds tried.

    Attributes: log_odds (T,) the thresholds, ascending; f1 (T,) in [0, 1].
    """

    log_odds: NDArray[np.float64]
    f1: NDArray[np.float64]


@dataclass(frozen=True)
class StepsFolder:
    """First errors, step AUC and calibration of scorers.

    Attributes:
        folder: where its files are.
        result: the content of steps.json.
        curves: development_curves.csv by scorer; empty if it is absent or the thresholds were given.
    """

    folder: Path
    result: Mapping[str, Any]
    curves: Mapping[str, DevelopmentCurve]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def read_steps(folder: str | Path) -> StepsFolder:
    """Read steps.json and, if it exists, development_curves.csv.

    Raises:
        UserError: steps.json is missing.
        DataError: a file does not parse or lacks fields that the figures need, or the curves are not those
            that the thresholds of steps.json come from; names file and line or field.
    """
    path = Path(folder)
    file = path / RESULT
    if not file.is_file():
        raise UserError(
            f"{path} has no {RESULT}: `dreamprm evaluate-steps` has not finished in it; run it again"
        )
    result = parse_object(file, file_text(file), line=1)
    check_keys(file, "", result, _KEYS, command=_COMMAND)
    check_keys(file, "settings.", result["settings"], _SETTINGS, command=_COMMAND)
    curves = path / CURVES
    return StepsFolder(path, result, _curves(curves, result["thresholds"]) if curves.is_file() else {})


def _curves(path: Path, thresholds: Mapping[str, Any]) -> dict[str, DevelopmentCurve]:
    """The curves of the scorers that steps.json has thresholds for."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in raise_errors(read_table(path)):
        missing = [column for column in _COLUMNS if column not in row.values]
        if missing:
            raise DataError(
                f"{path}:1: column {missing[0]} is missing, got"
                f" {', '.join(row.values)}; run `dreamprm evaluate-steps` again"
            )
        scorer = row.values["scorer"]
        if scorer not in thresholds:
            raise DataError(
                f"{path}:{row.line}: scorer must be one that {RESULT} has a threshold for"
                f" ({', '.join(thresholds) or 'none'}), got {scorer!r}"
            )
        point = tuple(_finite(row, column) for column in _COLUMNS[1:])
        before = found.setdefault(scorer, [])
        if before and point[0] <= before[-1][0]:
            raise DataError(
                f"{path}:{row.line}: threshold_log_odds must rise within a scorer, got"
                f" {point[0]:g} after {before[-1][0]:g}"
            )
        before.append((point[0], point[1]))
    for scorer, points in found.items():
        tried = (thresholds[scorer].get("development") or {}).get("thresholds_tried")
        if len(points) != tried:
            raise DataError(
                f"{path}: holds {len(points)} thresholds for {scorer}, but {RESULT} says that {tried} were"
                " tried: they come from different evaluations; run `dreamprm evaluate-steps` again"
            )
    return {scorer: DevelopmentCurve(*np.array(points).T) for scorer, points in found.items()}


def _finite(row: Fields, column: str) -> float:
    given = row.values[column]
    try:
        value = float(given or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{row.path}:{row.line}: {column} must be a finite number, got {given!r}")
    return value
