"""The folder of an evaluation of selectors, as `dreamprm evaluate` leaves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.evaluation import example_records
from dreamprm.evaluation.example_records import Agreement, Example, read_agreements, read_examples
from dreamprm.evaluation.number_text import MEAN
from dreamprm.evaluation.selector_names import SINGLE
from dreamprm.reporting.folders.files import whole_object
from dreamprm.reporting.folders.forms import (
    check_form,
    count_name,
    interval,
    list_of,
    map_of,
    number_in,
    object_of,
    one_of,
    optional,
    require_keys,
    require_known,
    text,
    truth,
)

RESULT, EXAMPLES = "evaluation.json", example_records.FILE

_COMMAND = "dreamprm evaluate"
_SHARE, _GAP = number_in(0, 1), number_in(-1, 1)
_COUNT, _AT_LEAST_ONE = number_in(0, whole=True), number_in(1, whole=True)
_FIGURE = {"accuracy": _SHARE, "interval": interval(_SHARE)}
_SUITE = object_of(
    {
        "questions": _AT_LEAST_ONE,
        "candidates": map_of(_COUNT, names=count_name, least=1),
        "files": list_of(text),
    }
)
_DIFFERENCE = object_of(
    {
        "method": text,
        "baseline": text,
        "suite": text,
        "difference": _GAP,
        "interval": interval(_GAP),
        "better": _COUNT,
        "worse": _COUNT,
        "p": _SHARE,
        "test": one_of("mcnemar", "sign_flip"),
        "p_holm": _SHARE,
        "significant": truth,
    }
)
_GENERATORS = object_of(
    {
        "accuracy": map_of(object_of(_FIGURE | {"questions": _AT_LEAST_ONE})),
        "best": optional(object_of({"name": text, "chosen_on": one_of("development", "test")})),
    }
)
_AGGREGATION = object_of(
    {"aggregation": text, "chosen": one_of("fixed", "development", SINGLE)},
    {"development": map_of(object_of(_FIGURE))},
)
_CHECKPOINT = object_of(
    {"picked": text, "development": map_of(object_of({"aggregation": text} | _FIGURE), least=1)}
)
_FORM = object_of(
    {
        "suites": map_of(_SUITE, least=1),
        "development": map_of(_SUITE),
        "seed": _COUNT,
        "resamples": _AT_LEAST_ONE,
        "level": _SHARE,
        "best_of_n": map_of(map_of(_SHARE), least=1),
        "intervals": map_of(map_of(interval(_SHARE))),
        "accuracy_by_n": map_of(map_of(map_of(_SHARE, names=count_name))),
        "intervals_by_n": map_of(map_of(map_of(interval(_SHARE), names=count_name))),
        "differences": list_of(_DIFFERENCE),
        "generators": map_of(_GENERATORS),
        "aggregations": map_of(_AGGREGATION),
        "checkpoints": map_of(_CHECKPOINT),
        "notes": list_of(text),
    },
    {"mean_over": list_of(text)},
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
    file = path / RESULT
    result = whole_object(file)
    check_form(file, result, _whole, command=_COMMAND)
    agreements = read_agreements(result, file)
    examples = read_examples(path / EXAMPLES) if (path / EXAMPLES).is_file() else ()
    if agreements:
        _check_examples(path / EXAMPLES, examples, agreements)
    return EvaluationFolder(path, result, examples, agreements)


def _check_examples(file: Path, examples: Sequence[Example], agreements: Sequence[Agreement]) -> None:
    """Check that the examples are of the pairs and counts of evaluation.json: no other would be shown."""
    kinds = Counter((one.agreement, one.method_is_right) for one in examples)
    for (agreement, method_is_right), count in kinds.items():
        there = agreement.method_only if method_is_right else agreement.baseline_only
        if agreement not in agreements or count > there:
            pair = f"{agreement.method} and {agreement.baseline} on {agreement.suite}"
            raise DataError(
                f"{file}: its examples of {pair} are not among the questions that {RESULT} counts: one of "
                f"the two is damaged, or they come from different evaluations; run `{_COMMAND}` again"
            )


def _whole(result: Any, place: str) -> None:
    """The form of the whole file: the form of each part, and the names by which parts refer to others."""
    _FORM(result, place)
    suites, selectors = result["suites"], result["best_of_n"]
    places = [*suites, MEAN]
    for selector, row in selectors.items():
        require_known(row, places, f"best_of_n.{selector}", "a suite, or their mean")
    for key in ("intervals", "accuracy_by_n", "intervals_by_n"):
        require_keys(result[key], selectors, key)
        for selector, row in selectors.items():
            require_keys(result[key][selector], row, f"{key}.{selector}")
    for selector, row in result["accuracy_by_n"].items():
        require_known([selector], selectors, "accuracy_by_n", "a selector of best_of_n")
        require_known(row, selectors[selector], f"accuracy_by_n.{selector}", "a place of best_of_n")
        for name, by_n in row.items():
            require_keys(result["intervals_by_n"][selector][name], by_n, f"intervals_by_n.{selector}.{name}")
    for index, one in enumerate(result["differences"]):
        for role in ("method", "baseline"):
            require_known([one[role]], selectors, f"differences[{index}].{role}", "a selector of best_of_n")
        require_known([one["suite"]], places, f"differences[{index}].suite", "a suite, or their mean")
    require_known(result["generators"], suites, "generators", "a suite")
    for name, held in result["generators"].items():
        best = [] if held["best"] is None else [held["best"]["name"]]
        require_known(best, held["accuracy"], f"generators.{name}.best.name", "a generator of the suite")
    for name, choice in result["checkpoints"].items():
        require_known(
            [choice["picked"]], choice["development"], f"checkpoints.{name}.picked", "one of those tried"
        )
    require_known(result.get("mean_over", ()), suites, "mean_over", "a suite")
