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
from dreamprm.evaluation.number_text import MEAN
from dreamprm.evaluation.steps.calibration import BINNINGS
from dreamprm.evaluation.steps.first_errors import FIGURES
from dreamprm.evaluation.steps.settings import SCOPES
from dreamprm.formats.json_rows import raise_errors
from dreamprm.formats.table_files import read_table
from dreamprm.reporting.folders.files import whole_object
from dreamprm.reporting.folders.forms import (
    Form,
    check_form,
    list_of,
    map_of,
    misfit,
    number_in,
    object_of,
    one_of,
    optional,
    require_keys,
    require_known,
    text,
)

RESULT, CURVES = "steps.json", "development_curves.csv"

_COMMAND = "dreamprm evaluate-steps"
_SHARE, _COUNT, _AT_LEAST_ONE = number_in(0, 1), number_in(0, whole=True), number_in(1, whole=True)


def _estimate_in(low: float, high: float) -> Form:
    """A figure with its interval, both ends of which are null where no sample has the figure; not null."""
    # An interval may leave the figure's range: how its ends are estimated is not for a page to judge.
    end = optional(number_in(low - 1, high + 1))
    form = object_of(
        {"value": number_in(low, high), "low": end, "high": end},
        {"undefined_resamples": _AT_LEAST_ONE},
    )

    def check(value: Any, place: str) -> None:
        form(value, place)
        ends = (value["low"], value["high"])
        if (ends[0] is None) != (ends[1] is None) or (ends[0] is not None and ends[0] > ends[1]):
            raise misfit(place, value, "an interval, the lower end first, or null for both ends")

    return check


_ESTIMATE = _estimate_in(0, 1)
_BINS = list_of(
    object_of({"steps": _AT_LEAST_ONE} | dict.fromkeys(("probability", "label", "low", "high"), _SHARE)),
    least=1,
)
_CURVE = object_of(
    {
        "ece": _ESTIMATE,
        "bins": _BINS,
        "ece_if_calibrated": optional(object_of({"mean": _SHARE, "high": _SHARE})),
    }
)
_CALIBRATION = object_of(
    {
        "steps": _AT_LEAST_ONE,
        "mean_label": _SHARE,
        "mean_probability": _SHARE,
        "brier": _ESTIMATE,
        "base_rate_brier": _SHARE,
        **dict.fromkeys(BINNINGS, _CURVE),
    }
)
_THRESHOLD = object_of(
    {"probability": _SHARE, "log_odds": number_in()},
    {"development": object_of({"thresholds_tried": _AT_LEAST_ONE} | dict.fromkeys(FIGURES, _SHARE))},
)
_OF_SUBSETS = ("records", "development_records", "test_records", "test_questions", "first_error_unknown")
_OF_STEPS = ("labelled_steps", "unlabelled_steps")
_SUBSET = object_of(
    {"erroneous": _COUNT, "correct": _COUNT},
    {"labels": one_of("soft", "hard")} | dict.fromkeys((*_OF_SUBSETS, *_OF_STEPS), _COUNT),
)
_DIFFERENCES = map_of(map_of(optional(_estimate_in(-1, 1))))
_FORM = object_of(
    {
        "settings": object_of(
            {
                "seed": _COUNT,
                "resamples": _AT_LEAST_ONE,
                "level": _SHARE,
                "scope": one_of(*SCOPES),
                "threshold_chosen_on": one_of("split", "subset", "file", "nothing"),
                "development_subset": optional(text),
            },
            {"label_threshold": optional(_SHARE)},
        ),
        "subsets": map_of(_SUBSET, least=1),
        "thresholds": map_of(_THRESHOLD),
        "first_error": object_of(dict.fromkeys(FIGURES, map_of(map_of(optional(_ESTIMATE))))),
        "auc": map_of(map_of(map_of(map_of(optional(_ESTIMATE))))),
        "calibration": map_of(object_of(dict.fromkeys(SCOPES, map_of(_CALIBRATION)))),
    },
    {
        "development": optional(object_of({"erroneous": _COUNT, "correct": _COUNT, "questions": _COUNT})),
        "differences": object_of(
            {"baseline": text},
            dict.fromkeys((*FIGURES, "auc_pooled", "auc_per_record"), _DIFFERENCES),
        ),
        "left_out": map_of(
            object_of(
                {"bad_records": _COUNT, "whole_response_scorers": list_of(text), "reasons": list_of(text)}
            )
        ),
    },
)
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
    result = whole_object(file)
    check_form(file, result, _whole, command=_COMMAND)
    curves = path / CURVES
    return StepsFolder(path, result, _curves(curves, result["thresholds"]) if curves.is_file() else {})


def _whole(result: Any, place: str) -> None:
    """The form of the whole file: the form of each part, and the names by which parts refer to others."""
    _FORM(result, place)
    subsets = list(result["subsets"])
    rows = {
        f"first_error.{figure}.{name}": row
        for figure, named in result["first_error"].items()
        if figure in FIGURES
        for name, row in named.items()
    }
    rows |= {
        f"auc.{scorer}.{scope}.{kind}": row
        for scorer, scopes in result["auc"].items()
        for scope, kinds in scopes.items()
        for kind, row in kinds.items()
    }
    differences = {
        figure: named for figure, named in result.get("differences", {}).items() if figure != "baseline"
    }
    rows |= {
        f"differences.{figure}.{name}": row
        for figure, named in differences.items()
        if isinstance(named, dict)
        for name, row in named.items()
        if isinstance(row, dict)
    }
    for held_at, row in rows.items():
        require_known(row, [*subsets, MEAN], held_at, "a subset, or their mean")
    for scorer, scopes in result["calibration"].items():
        for scope in SCOPES:
            require_known(scopes[scope], subsets, f"calibration.{scorer}.{scope}", "a subset")
    if result["first_error"]["f1"]:
        require_keys(result["first_error"]["f1"], result["thresholds"], "first_error.f1")
    apart = result["settings"]["development_subset"]
    if apart is not None:
        require_known([apart], subsets, "settings.development_subset", "a subset")
    elif result["settings"]["threshold_chosen_on"] == "subset" and result["thresholds"]:
        raise misfit("settings.development_subset", None, "the subset that the thresholds were chosen on")
    for subset, held in result.get("left_out", {}).items():
        if held["bad_records"] and not held["reasons"]:
            raise misfit(f"left_out.{subset}.reasons", [], "a reason, as there are bad records")


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
        if not 0 <= point[1] <= 1:
            raise DataError(f"{path}:{row.line}: f1 must be in [0, 1], got {point[1]:g}")
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
