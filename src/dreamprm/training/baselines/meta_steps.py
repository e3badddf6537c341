"""Meta records as step records, for baselines that train on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dreamprm.config.schema import setting
from dreamprm.data.records import MetaRecord, StepRecord

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
