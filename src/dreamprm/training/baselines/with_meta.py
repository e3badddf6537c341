"""All domains and the meta set: what its labels are worth as one more training domain."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.training.baselines.base import KEPT, Selected, Selection, SelectionData
from dreamprm.training.baselines.meta_steps import META_DOMAIN, as_step_record, labels_setting


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
