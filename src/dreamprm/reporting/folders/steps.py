"""The folder of a step-level evaluation, as `dreamprm evaluate-steps` leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.errors import UserError
from dreamprm.reporting.folders.files import parse_object

RESULT = "steps.json"


@dataclass(frozen=True)
class StepsFolder:
    """First errors, step AUC and calibration of scorers.

    Attributes:
        folder: where its files are.
        result: steps.json as it stands.
    """

    folder: Path
    result: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def read_steps(folder: str | Path) -> StepsFolder:
    """Read steps.json.

    Raises: UserError where it is missing; DataError where it does not parse.
    """
    path = Path(folder)
    if not (path / RESULT).is_file():
        raise UserError(
            f"{path} has no {RESULT}: `dreamprm evaluate-steps` has not finished in it; run it again")
    return StepsFolder(path, parse_object(path / RESULT, (path / RESULT).read_text(encoding="utf-8"), line=1))
