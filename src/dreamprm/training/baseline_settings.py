"""What a run is compared with: baselines that train by the same command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import open_settings, setting


@dataclass
class BaselineSettings:
    """A reference run in place of learned weights; it fixes what it needs (hypergrad.name=none, for one)."""

    name: str = setting(
        "none",
        "none: weights are learned as the other sections say; orm: one outcome label a CoT; car, s1: a "
        "selected training set; meta_only, with_meta: trained on the meta set, alone or beside the rest; "
        "random_weights, fixed_weights: weights that stay; doremi, doge: weights by another rule",
    )
    settings: dict[str, Any] = open_settings(
        "the named baseline's own settings, written beside name:",
        registry="dreamprm.training.baselines:BASELINES",
    )

    def check(self) -> None:
        """The baseline has the settings given (makes it once)."""
        from dreamprm.training.baselines import build_baseline

        build_baseline(self.name, **self.settings)
