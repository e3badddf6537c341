"""The folder of an evaluation of selectors, as `dreamprm evaluate` leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.errors import UserError
from dreamprm.evaluation import example_records
from dreamprm.evaluation.example_records import Agreement, Example, read_agreements, read_examples
from dreamprm.reporting.folders.files import check_keys, parse_object

RESULT, EXAMPLES = "evaluation.json", example_records.FILE

_KEYS = ("suites", "development", "seed", "resamples", "level", "best_of_n", "intervals", "accuracy_by_n",
         "intervals_by_n", "differences", "generators", "aggregations", "checkpoints", "notes")


@dataclass(frozen=True)
class EvaluationFolder:
    """Accuracies of selectors on scored candidates.

    Attributes:
        folder: where its files are.
        result: evaluation.json as it stands.
        examples: those of examples.jsonl; none where the evaluation kept none. Their images are files of
            `images`.
        agreements: how often the selectors of each example's pair agree, also of pairs without an example.
    """

    folder: Path
    result: Mapping[str, Any]
    examples: tuple[Example, ...] = ()
    agreements: tuple[Agreement, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def images(self) -> Path:
        """The folder of the examples' images; absent where they have none."""
        return self.folder / example_records.FOLDER


def read_evaluation(folder: str | Path) -> EvaluationFolder:
    """Read evaluation.json and, where it is there, examples.jsonl.

    Raises: UserError where the first is missing; DataError for a file that does not parse or lacks what a
        report is made of.
    """
    path = Path(folder)
    if not (path / RESULT).is_file():
        raise UserError(f"{path} has no {RESULT}: `dreamprm evaluate` has not finished in it; run it again")
    result = parse_object(path / RESULT, (path / RESULT).read_text(encoding="utf-8"), line=1)
    check_keys(path / RESULT, "", result, _KEYS, command="dreamprm evaluate")
    examples = path / EXAMPLES
    return EvaluationFolder(path, result, read_examples(examples) if examples.is_file() else (),
                            read_agreements(result, path / RESULT))
