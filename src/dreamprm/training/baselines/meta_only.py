"""The meta set alone: what its labels are worth without any training domain."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.training.baselines.base import Selected, Selection, SelectionData
from dreamprm.training.baselines.with_meta import as_step_record, labels_setting


@dataclass(frozen=True)
class MetaOnly(Selection):
    """A PRM trained on the meta records and nothing else.

    Use it to see whether learned weights are worth more than the data they are learned from. The number of
    steps is unchanged, so a small meta set is seen many times.

    Args:
        labels: `all`: every step of a CoT has its right/wrong label r; `last`: only the last step has. With
            `last`, also set aggregation=last: the other steps are never trained.

    Raises:
        ValueError: other labels.
    """

    labels: str = labels_setting()

    def __post_init__(self) -> None:
        check_settings(self)

    def select(self, data: SelectionData) -> Selected:
        """The meta records as the only domain."""
        return Selected(
            ["not of the meta set"] * len(data.records),
            added=[as_step_record(record, labels=self.labels) for record in data.meta],
        )
