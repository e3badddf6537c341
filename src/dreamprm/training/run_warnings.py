"""Warnings of a run: what may make its result worthless although every number is finite. Each is given once.

They are functions of the run's logs and data, so a run that was interrupted has the same ones as another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dreamprm.data.record_table import LabelRange

_FEWEST_WINDOWS = 20  # below that, whether a loss falls is chance


@dataclass
class WindowWarnings:
    """What single windows show, in order; one object for one run.

    Args:
        share: warn if one domain has more than this share of all weights (of several domains).
        floor: warn if all domains' weights are below this.
        learns: whether the run learns weights.
    """

    share: float
    floor: float
    learns: bool
    _given: set[str] = field(default_factory=set)

    def of(self, row: Mapping[str, Any], weights: Mapping[str, float]) -> list[dict[str, Any]]:
        """The new warnings after a window: `kind`, `step` and `message` each.

        Args:
            row: its line of metrics.jsonl.
            weights: after it, by domain.
        """
        found = {}
        if self.learns and row.get("alpha_grad_norm") == 0:
            found["zero_gradient"] = (
                "the gradient with respect to alpha is exactly 0, so the weights learn nothing from such "
                "windows; check that the inner steps reach the meta loss (inner.lr, precision, labels)"
            )
        if self.learns and len(weights) > 1:
            found |= self._collapse(weights)
        new = {kind: message for kind, message in found.items() if kind not in self._given}
        self._given |= new.keys()
        return [{"kind": kind, "step": row["step"], "message": message} for kind, message in new.items()]

    def _collapse(self, weights: Mapping[str, float]) -> dict[str, str]:
        sizes = {name: abs(value) for name, value in weights.items()}
        total = sum(sizes.values())
        most = max(sizes, key=lambda name: sizes[name])
        if total > 0 and sizes[most] > self.share * total:
            return {
                "one_domain_has_all": f"domain {most!r} has {sizes[most] / total:.1%} of all weights, more "
                f"than log.collapse_share={self.share:g}: the training sees little else; lower upper.lr, or "
                "check its labels and the meta set"
            }
        if max(weights.values()) < self.floor:
            return {
                "all_weights_low": f"all weights are below log.collapse_floor={self.floor:g} (the highest is "
                f"{max(weights.values()):.3g}): the training hardly moves; lower upper.lr, or set "
                "weights.normalisation=softplus"
            }
        return {}


def data_warnings(labels: Mapping[str, LabelRange]) -> list[dict[str, Any]]:
    """What the training data shows before the first step: `kind` and `message` each.

    Args:
        labels: of the step records, by domain (`RecordTable.label_ranges`).
    """
    found: list[dict[str, Any]] = [
        {
            "kind": "labels_all_equal",
            "message": f"domain {domain!r}: all {one.known:,} labels are {one.least:g}, which teaches a PRM "
            "nothing but this number; check how they were made",
        }
        for domain, one in labels.items()
        if one.known > 1 and one.least == one.most
    ]
    if len(labels) == 1:
        found.append(
            {
                "kind": "one_domain",
                "message": f"there is one domain, {next(iter(labels))!r}, so there is no mixture to learn; "
                "give each data set a domain of its own (data.train: [{path, domain}])",
            }
        )
    return found


def loss_warnings(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Losses that do not fall: their mean over the last third of the windows is not below that of the first.

    Args:
        rows: of metrics.jsonl; nothing is said of fewer than 20 windows.
    """
    found: list[dict[str, Any]] = []
    held = list(rows)
    for name, what in (("inner_loss", "inner"), ("meta_loss", "meta")):
        values = np.array([row[name] for row in held if row.get(name) is not None])
        if len(values) < _FEWEST_WINDOWS:
            continue
        first, last = values[: len(values) // 3].mean(), values[-(len(values) // 3) :].mean()
        if last >= first:
            found.append(
                {
                    "kind": f"{name}_does_not_fall",
                    "message": f"the {what} loss does not fall: its mean is {first:.4g} in the first third "
                    f"of the windows and {last:.4g} in the last; train longer, or with another "
                    + ("inner.lr" if what == "inner" else "inner.lr or upper.lr"),
                }
            )
    return found
