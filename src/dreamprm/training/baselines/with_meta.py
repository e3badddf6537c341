"""All domains and the meta set: what its labels are worth as one more training domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.training.baselines.base import KEPT, Selected, Selection, SelectionData

META_DOMAIN = "meta"
"""The domain of the meta records among the training domains."""
LABELS = ("all", "last")


def labels_setting() -> Any:
    """The declaration of the setting `labels` of these baselines."""
    return setting(
        "all",
        "every step of a meta CoT has its right/wrong label, or only the last step has",
        choices=LABELS,
    )


def as_step_record(record: MetaRecord, *, labels: str) -> StepRecord:
    """A meta record as a step record, with its label r as p_n or as every p_i.

    all     p_i = r for every step: the target of DreamPRM's ablation with the meta loss on single steps
    last    p_n = r, and the others are not labelled: only what is known for certain
    """
    right, count = float(record.correct), len(record.steps)
    known: Sequence[float | None] = (right,) * count if labels == "all" else (None,) * (count - 1) + (right,)
    return StepRecord(
        question=record.question,
        images=record.images,
        domain=META_DOMAIN,
        steps=record.steps,
        labels=tuple(known),
        rollouts=(None,) * count,
        id=record.id,
    )


@dataclass(frozen=True)
class WithMeta(Selection):
    """A vanilla PRM trained on all domains and, as one more domain, the meta records.

    Use it to see whether learned weights are worth more than the extra data: this run has seen every label
    that a run with learned weights has seen. Each domain, including the meta set, has weight 1.

    Args:
        labels: `all`: every step of a meta CoT has its right/wrong label r; `last`: only the last step has.

    Raises:
        ValueError: other labels.
    """

    labels: str = labels_setting()

    def __post_init__(self) -> None:
        check_settings(self)

    def select(self, data: SelectionData) -> Selected:
        """All records, then the meta records.

        Raises:
            UserError: a training domain has the meta set's name.
        """
        if any(record.domain == META_DOMAIN for record in data.records):
            raise UserError(
                f"a training domain is named {META_DOMAIN!r}, like the meta set's own; give it "
                "another name (data.train[].domain)"
            )
        return Selected(
            [KEPT] * len(data.records),
            added=[as_step_record(record, labels=self.labels) for record in data.meta],
        )
