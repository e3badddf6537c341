"""Step records made by hand, for tests of selections."""

from __future__ import annotations

from collections.abc import Sequence

from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.models.images import ImageStore
from dreamprm.training.baselines.base import SelectionData


def cot(
    *steps: str,
    labels: Sequence[float | None] | None = None,
    question: str = "q",
    domain: str = "a",
    images: tuple[str, ...] = ("i.png",),
    name: str = "",
) -> StepRecord:
    """A CoT; all labels 1 where none are given."""
    given = tuple([1.0] * len(steps) if labels is None else labels)
    return StepRecord(question, images, domain, steps, given, (None,) * len(steps), name)


def meta(*steps: str, correct: bool) -> MetaRecord:
    return MetaRecord("m", ("m.png",), steps, correct, f"meta-{correct}")


def selection_data(
    records: Sequence[StepRecord], metas: Sequence[MetaRecord] = (), *, seed: int = 0
) -> SelectionData:
    """What a selection without a model looks at."""
    return SelectionData(
        records=records, meta=metas, seed=seed, prm=None, images=ImageStore(), say=lambda text: None
    )
