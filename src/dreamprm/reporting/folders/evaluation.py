"""The folder of an evaluation of selectors, as `dreamprm evaluate` leaves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.evaluation import example_records
from dreamprm.evaluation.example_records import Agreement, Example, read_agreements, read_examples
from dreamprm.reporting.folders.files import check_keys, file_text, parse_object

RESULT, EXAMPLES = "evaluation.json", example_records.FILE

_KEYS = (
    "suites",
    "development",
    "seed",
    "resamples",
    "level",
    "best_of_n",
    "intervals",
    "accuracy_by_n",
    "intervals_by_n",
    "differences",
    "generators",
    "aggregations",
    "checkpoints",
    "notes",
)
_SUITE = ("questions", "candidates", "files")
_DIFFERENCE = (
    "method",
    "baseline",
    "suite",
    "difference",
    "interval",
    "better",
    "worse",
    "p",
    "test",
    "p_holm",
    "significant",
)


@dataclass(frozen=True)
class EvaluationFolder:
    """Accuracies of selectors on scored candidates.

    Attributes:
        folder: where its files are.
        result: the content of evaluation.json.
        examples: those of examples.jsonl; empty if the evaluation kept none. Their images are files in
            `images`.
        agreements: how often the selectors of each pair agree, including pairs without an example.
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
        """The folder of the examples' images; absent if they have none."""
        return self.folder / example_records.FOLDER


def read_evaluation(folder: str | Path) -> EvaluationFolder:
    """Read evaluation.json and, if it exists, examples.jsonl.

    Raises: UserError if the first is missing; DataError for a file that does not parse or lacks fields that a
    report needs.
    """
    path = Path(folder)
    if not (path / RESULT).is_file():
        raise UserError(f"{path} has no {RESULT}: `dreamprm evaluate` has not finished in it; run it again")
    result = parse_object(path / RESULT, file_text(path / RESULT), line=1)
    _check(path / RESULT, result)
    examples = path / EXAMPLES
    return EvaluationFolder(
        path,
        result,
        read_examples(examples) if examples.is_file() else (),
        read_agreements(result, path / RESULT),
    )


def _check(file: Path, result: Mapping[str, Any]) -> None:
    """Check that the suites, differences and accuracies have the fields that the tables need."""

    def check(place: str, held: Any, wanted: Iterable[str]) -> None:
        check_keys(file, place, held, tuple(wanted), command="dreamprm evaluate")

    check("", result, _KEYS)
    for role in ("suites", "development"):
        for name in result[role]:
            check(f"{role}.{name}.", result[role][name], _SUITE)
    for index, row in enumerate(result["differences"]):
        check(f"differences[{index}].", row, _DIFFERENCE)
    for key in ("intervals", "accuracy_by_n", "intervals_by_n"):
        check(f"{key}.", result[key], result["best_of_n"])
        for selector, row in result["best_of_n"].items():
            check(f"{key}.{selector}.", result[key][selector], row)
