"""ORM: an outcome reward model, which gives a whole CoT one score."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dreamprm.data.records import StepRecord
from dreamprm.training.baselines.base import KEPT, Selected, Selection, SelectionData


@dataclass(frozen=True)
class OutcomeRewardModel(Selection):
    """L = mean over CoTs of (p_n - label_n)^2: one outcome label per CoT, read at its last step.

    Use it to see what the labels of the steps before the last are worth. Model, batches and steps are the
    same as for the PRM; only the last label is kept, and a CoT's score is its last step's log-odds
    (`aggregation=last`, also in the logged meta loss). The saved model says what it is: prm.json has
    `training.scores = "response"`, one score for the whole response.

    The outcome label is p_n as given in the file: 0 or 1 if the complete CoT was judged, as in our labels; a
    share if the file estimates that too. A CoT whose last step has no label is left out.

    Source: Cobbe et al., arXiv 2110.14168 (verifiers); Lightman et al., arXiv 2305.20050 (comparison of ORM
    and PRM); the baseline of DreamPRM, arXiv 2505.20241. They use cross-entropies; this one uses the same
    squared error as the PRM it is compared with, so that the labels are the only difference.
    """

    fixes: ClassVar[Mapping[str, Any]] = {"aggregation": "last", "meta_loss": "aggregation"}

    def facts(self) -> dict[str, Any]:
        """`scores`: what a score of the model refers to; absent from the settings of a PRM."""
        return {"scores": "response"}

    def select(self, data: SelectionData) -> Selected:
        """Every CoT with an outcome label, keeping only that label."""
        fates = [
            KEPT if record.labels[-1] is not None else "last step not labelled" for record in data.records
        ]
        return Selected(fates, change=outcome_only)


def outcome_only(record: StepRecord) -> StepRecord:
    """The record with only its last label."""
    before = (None,) * (len(record.steps) - 1)
    return dataclasses.replace(
        record, labels=(*before, record.labels[-1]), rollouts=(*before, record.rollouts[-1])
    )
