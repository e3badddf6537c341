"""A random share of each domain's CoTs: what a choice of data is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.training.baselines.base import KEPT, Selected, Selection, SelectionData
from dreamprm.training.baselines.bis import rows_by_domain, share_of

NOT_DRAWN = "not drawn"


@dataclass(frozen=True)
class RandomShare(Selection):
    """Keeps a random share of each domain's CoTs, drawn without replacement with the run's seed.

    Use it next to `bis` at the same `keep`: both keep the same number of each domain's CoTs, so that they
    differ in nothing but the choice. Use several seeds.

    Args:
        keep: share of each domain's CoTs that is kept, rounded down; at least one CoT of each.

    Raises:
        ValueError: a share outside (0, 1].

    Source: the random subsets of arXiv 2602.04145.
    """

    keep: float = setting(0.25, "share of each domain's CoTs that is kept", above=0, maximum=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def select(self, data: SelectionData) -> Selected:
        """The drawn CoTs."""
        generator = np.random.default_rng(data.seed)
        fates = [NOT_DRAWN] * len(data.records)
        for rows in rows_by_domain(data.records).values():
            for place in generator.choice(len(rows), share_of(len(rows), self.keep), replace=False):
                fates[rows[place]] = KEPT
        return Selected(fates)
