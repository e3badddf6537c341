"""What commands that go through files of any length show while they run."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.choices import PROGRESS_MODES
from dreamprm.config.schema import setting


@dataclass
class ProgressSettings:
    """What is shown while it runs."""

    every: float = setting(30.0, "seconds between two lines shown where there is no terminal", above=0)
    progress: str = setting(
        "auto",
        "bar on a terminal and lines elsewhere, or one of them always",
        choices=PROGRESS_MODES,
    )
