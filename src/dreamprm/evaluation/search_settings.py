"""`dreamprm evaluate-search`: results of searches in; accuracy over the tokens that they spent out."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import LARGEST_SEED, REQUIRED, setting
from dreamprm.files.distinct import require_distinct


@dataclass
class EvaluateSearchConfig:
    """How accurate searches are for what they spend."""

    folders: list[str] = setting(
        REQUIRED,
        "folders that `dreamprm search` wrote; if they hold the same questions, each is also compared with "
        "the first",
    )
    output: str | None = setting(None, "folder for the results; null: the first of the folders")
    seed: int = setting(0, "seed for the bootstrap", minimum=0, maximum=LARGEST_SEED)
    resamples: int = setting(2000, "bootstrap samples", minimum=100)
    level: float = setting(0.95, "confidence level of the intervals", above=0, below=1)

    def check(self) -> None:
        """Require folders, each once."""
        if not self.folders:
            raise ValueError("folders must name at least one folder of a search, got []")
        require_distinct(self.folders, "folders")
