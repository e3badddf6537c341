"""The folder of an evaluation of selectors, as `dreamprm evaluate` leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.errors import UserError
from dreamprm.reporting.folders.files import object_lines, parse_object

RESULT, EXAMPLES = "evaluation.json", "examples.jsonl"


@dataclass(frozen=True)
class EvaluationFolder:
    """Accuracies of selectors on scored candidates.

    Attributes:
        folder: where its files are.
        result: evaluation.json as it stands.
        examples: the lines of examples.jsonl; empty where the evaluation kept none. Their images are files
            below `folder`.
    """

    folder: Path
    result: Mapping[str, Any]
    examples: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def read_evaluation(folder: str | Path) -> EvaluationFolder:
    """Read evaluation.json and, where it is there, examples.jsonl.

    Raises: UserError where the first is missing; DataError for a file that does not parse.
    """
    path = Path(folder)
    if not (path / RESULT).is_file():
        raise UserError(f"{path} has no {RESULT}: `dreamprm evaluate` has not finished in it; run it again")
    result = parse_object(path / RESULT, (path / RESULT).read_text(encoding="utf-8"), line=1)
    examples = path / EXAMPLES
    return EvaluationFolder(path, result, tuple(object_lines(examples)) if examples.is_file() else ())
