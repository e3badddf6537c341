"""BIS: the CoTs of each domain that mix right and wrong steps and whose right ones are reliably right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.data.records import StepRecord
from dreamprm.training.baselines.base import KEPT, Records, Selected, Selection, SelectionData

BELOW = "a lower Balanced-Information Score than the CoTs kept"


@dataclass(frozen=True)
class BalancedInformation(Selection):
    """Keeps the top share of each domain's CoTs by BIS = (p (1 - p) + smoothing) R.

        p   share of the CoT's labelled steps that are right: whose Monte-Carlo share is above `threshold`
        R   mean Monte-Carlo share of the right steps; 1 if none is right

    Use it to see whether learned weights are worth more than a choice of CoTs by the labels alone: it reads
    no model and no meta set. Not where labels are already 0 or 1: R is then 1 for all, and the score says how
    mixed a CoT is, nothing more.

    Its paper trains on hard labels: `data.labels=hard`. The score is of the labels as the file has them,
    whatever `data.labels` and `data.mask` make of them.

    Args:
        keep: share of each domain's CoTs that is kept, rounded down; at least one CoT of each.
        smoothing: alpha of the paper: what a CoT of one kind of steps still counts.
        threshold: a step is right if its label is above it.

    Raises:
        ValueError: a value that is not allowed.

    Source: arXiv 2602.04145 (Balanced-Information Score); formula, defaults, R = 1 without right steps and
    the rounding as in its public code. It takes the share of each source file, which has one data set; here
    it is each domain's. Equal scores are kept in the file's order.
    """

    keep: float = setting(0.25, "share of each domain's CoTs that is kept", above=0, maximum=1)
    smoothing: float = setting(0.05, "added to p (1 - p), so that unmixed CoTs count too", minimum=0)
    threshold: float = setting(0.0, "a step is right if its label is above it", minimum=0, below=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def select(self, data: SelectionData) -> Selected:
        """The chosen CoTs; the report has the lowest score kept and the highest one left out, by domain."""
        scores = np.array([self.score(record) for record in data.records])
        kept, bounds = np.zeros(len(scores), dtype=bool), {}
        for name, rows in rows_by_domain(data.records).items():
            order = sorted(rows, key=lambda row: -scores[row])
            count = share_of(len(rows), self.keep)
            kept[order[:count]] = True
            bounds[name] = {"kept_from": float(scores[order[count - 1]])}
            if count < len(order):
                bounds[name]["left_out_to"] = float(scores[order[count]])
        labels = {label for record in data.records for label in record.labels if label is not None}
        if labels <= {0.0, 1.0}:
            data.say(
                "baseline bis: all labels are 0 or 1, so every right step counts as certain: the score is "
                "the mixture of right and wrong steps alone"
            )
        return Selected([KEPT if one else BELOW for one in kept], facts={"scores": bounds})

    def score(self, record: StepRecord) -> float:
        """The Balanced-Information Score of a CoT; 0 without labels."""
        known = [label for label in record.labels if label is not None]
        right = [label for label in known if label > self.threshold]
        if not known:
            return 0.0
        share = len(right) / len(known)
        reliability = sum(right) / len(right) if right else 1.0
        return (share * (1 - share) + self.smoothing) * reliability


def rows_by_domain(records: Records) -> Mapping[str, Sequence[int]]:
    """The numbers of each domain's records, in their order."""
    rows: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        rows.setdefault(record.domain, []).append(row)
    return rows


def share_of(count: int, share: float) -> int:
    """A share of so many, rounded down; at least one."""
    # 0.29 * 100 is 28.999999999999996: a product that should be whole is taken for it
    return max(1, int(count * share * (1 + 1e-12)))
