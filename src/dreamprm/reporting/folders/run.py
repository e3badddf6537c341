"""A run folder, as `dreamprm train` leaves it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.errors import DataError, UserError
from dreamprm.evaluation.number_text import number
from dreamprm.files.json_values import shown
from dreamprm.reporting.folders.files import file_text, object_lines, whole_object
from dreamprm.reporting.folders.forms import (
    LARGEST,
    Form,
    check_form,
    count_name,
    list_of,
    map_of,
    number_in,
    object_of,
    optional,
    require_keys,
    text,
    truth,
)

Floats = NDArray[np.float64]

_COMMAND = "dreamprm train"
# What is unknown is null or NaN, and is shown as n/a.
_NUMBER, _SHARE, _GAP = number_in(known=False), number_in(0, 1, known=False), number_in(-1, 1, known=False)
_COUNT, _COSINE, _RATIO = number_in(0, whole=True), number_in(-1, 1), number_in(0, known=False)


def _ends(form: Form) -> Form:
    return optional(list_of(form, length=2))


_AUDIT = object_of(
    {"exact": list_of(text, least=1), "windows": _COUNT, "undefined": _COUNT},
    {
        "cosine": object_of({"median": _COSINE, "least": _COSINE}),
        "norm_ratio": object_of({"median": _RATIO}),
    },
)
_CORRECTED = {
    **dict.fromkeys(("labels", "changed", "to_right", "to_wrong"), _COUNT),
    "mean_change": number_in(0, 1),
}
_CORRECTED_LABELS = object_of(
    {
        **_CORRECTED,
        "domains": map_of(object_of(_CORRECTED)),
        "most": list_of(
            object_of(
                {
                    **dict.fromkeys(("id", "domain", "text"), text),
                    "step": number_in(1, whole=True),
                    **dict.fromkeys(("given", "corrected"), number_in(0, 1)),
                }
            )
        ),
    }
)
_DISAGREEING = object_of({"disagreeing": _COUNT, "disagreeing_steps": _COUNT})
_LABELS = object_of(
    {},
    {
        **dict.fromkeys(("labels", "mask"), text),
        "threshold": number_in(0, 1),
        **dict.fromkeys(("right", "wrong", "changed", "masked", "masked_cots"), _COUNT),
        "consensus": _DISAGREEING,
    },
)
_SUMMARY = object_of(
    {},
    {
        name: optional(form)
        for name, form in {
            "name": text,
            "estimator": text,
            "baseline": text,
            "vanilla_source": text,
            "evaluation": text,
            "seed": number_in(0, whole=True),
            "steps": _RATIO,
            "seconds": _RATIO,
            "spearman": _GAP,
            "weight_ratio": _NUMBER,
            "weights": map_of(_NUMBER),
            "quality": map_of(_SHARE),
            "generator_accuracy": map_of(_SHARE),
            "best_of_n": map_of(map_of(_SHARE)),
            "intervals": map_of(optional(map_of(_ends(_SHARE)))),
            "differences": map_of(map_of(optional(list_of(_GAP, length=3)))),
            "accuracy_by_n": map_of(map_of(map_of(_SHARE, names=count_name))),
            "intervals_by_n": map_of(optional(map_of(map_of(_ends(_SHARE), names=count_name)))),
            "shifted_suites": list_of(text),
            "suite_files": map_of(lambda value, place: None),
            "notes": list_of(text),
            "warnings": list_of(object_of({"message": text})),
            "targets": map_of(object_of({"target": _NUMBER, "measured": _NUMBER, "met": truth})),
            "targets_met": truth,
            "audit": _AUDIT,
            "labels": _LABELS,
            "corrected_labels": _CORRECTED_LABELS,
        }.items()
    },
)
_WEIGHTS = object_of({"step": number_in(0), "weights": map_of(_NUMBER)})


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
    summary = whole_object(path / "summary.json")
    check_form(path / "summary.json", summary, _whole, command=_COMMAND)
    metrics, statuses = _columns(path / "metrics.jsonl")
    weights_file, config_file = path / "domain_weights.jsonl", path / "config.yaml"
    return Run(
        folder=path,
        summary=summary,
        metrics=metrics,
        statuses=statuses,
        weights=_history(weights_file) if weights_file.is_file() else None,
        config=file_text(config_file) if config_file.is_file() else None,
    )


def _whole(summary: Any, place: str) -> None:
    _SUMMARY(summary, place)
    audit = summary.get("audit") or {}
    if "cosine" in audit:
        require_keys(audit, ("norm_ratio",), "audit")


def _columns(path: Path) -> tuple[dict[str, Floats], tuple[str, ...]]:
    lines = object_lines(path)
    # Without a step a window has no place in a plot; what else it lacks is a gap.
    form = object_of({"step": number_in(0)}, {"status": text})
    for line, row in lines:
        check_form(path, row, form, command=_COMMAND, line=line)
    rows = [row for _, row in lines]
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "status"]
    columns = {name: np.array([_in_reach(row.get(name)) for row in rows]) for name in names}
    return columns, tuple(row.get("status", "") for row in rows)


def _in_reach(value: object) -> float:
    """A number, or NaN; what is too large for the axes of a plot counts as infinite."""
    found = number(value)
    return found if not abs(found) > LARGEST else math.copysign(math.inf, found)


def _history(path: Path) -> WeightHistory | None:
    lines = object_lines(path)
    for index, (line, row) in enumerate(lines, start=1):
        if not isinstance(row.get("weights"), dict):
            raise DataError(
                f"{path}, object {index}: weights must be an object of domain: weight, got "
                f"{shown(row.get('weights'))}"
            )
        check_form(path, row, _WEIGHTS, command=_COMMAND, line=line)
    rows = [row for _, row in lines]
    names = tuple(dict.fromkeys(name for row in rows for name in row["weights"]))
    if not names:
        return None
    return WeightHistory(
        names=names,
        steps=np.array([float(row["step"]) for row in rows]),
        values=np.array([[number(row["weights"].get(name)) for name in names] for row in rows]),
    )
