"""The sentences that say what a step evaluation's figures mean; steps.md and the report share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dreamprm.evaluation.number_text import level_text

FIRST_ERROR = (
    "F1 is the harmonic mean of the accuracy on erroneous records (index of the first error exact) and"
    " on correct ones (none found), in %. A step below the threshold is an error."
)
NO_FIRST_ERROR = (
    "Not measured: no record tells its first error. Labels between 0 and 1 are estimates;"
    " label_threshold says which of them are right."
)
AUC = (
    "The share of (right, wrong) pairs of steps in which the right one scores higher; 0.5 is chance."
    " Pooled compares steps of all records, per record those of one record. By the labels' convention"
    ' every step behind the first error is wrong: "all" counts them, "up to first error" does not.'
)
FEW = 50
"""Records of a kind in a subset; below it, bootstrap intervals of an accuracy over them are too narrow."""
PAIRED = "Paired: both scorers on the same drawn questions."


def words(name: str) -> str:
    """A key of steps.json in words. Example: "up_to_first_error" -> "up to first error"."""
    return name.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")


def level_of(result: Mapping[str, Any]) -> str:
    """The level of all intervals, for instance "95 %"."""
    return level_text(result["settings"]["level"])


def shown_scope(result: Mapping[str, Any]) -> str:
    """The scope of the calibration that is shown: the one asked for, or `all` where that holds nothing."""
    wanted = str(result["settings"]["scope"])
    held = any(scopes.get(wanted) for scopes in result["calibration"].values())
    return wanted if held else "all"


def threshold_choice(result: Mapping[str, Any]) -> str:
    """How the thresholds came about, and what the development set held."""
    settings = result["settings"]
    ways = {
        "split": "The threshold is the one with the highest F1 on the development questions of all subsets,"
        " which no figure counts",
        "subset": f"The threshold is the one with the highest F1 on {settings['development_subset']}, whose"
        " own figures are therefore too good and do not enter the mean",
        "file": "The threshold is the one with the highest F1 on a development file of its own",
        "nothing": "The threshold was given",
    }
    held = result.get("development")
    size = "" if held is None else f" ({held['erroneous']} erroneous and {held['correct']} correct records)"
    return f"{ways[settings['threshold_chosen_on']]}{size}."


def without_finds(result: Mapping[str, Any]) -> str:
    """A sentence on scorers that find nothing on the development set; "" where there are none."""
    poor = [
        name for name, one in result["thresholds"].items() if (one.get("development") or {}).get("f1") == 0
    ]
    if not poor:
        return ""
    return f"No threshold gives {', '.join(poor)} a development F1 above 0; the lowest one is taken."


def cautions(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the first errors' intervals, a sentence each."""
    figures = result["first_error"]
    found = []
    for subset, held in result["subsets"].items() if figures.get("f1") else ():
        kinds = ("erroneous", "correct")
        few = [f"{held[kind]} {kind}" for kind in kinds if 0 < held[kind] < FEW]
        if few:
            found.append(
                f"{subset} has {' and '.join(few)} records; bootstrap intervals of so few are too narrow."
            )
    flat = [
        scorer
        for scorer in result["thresholds"]
        if any(_is_one_point(one) for rows in figures.values() for one in rows.get(scorer, {}).values())
    ]
    if flat:
        found.append(
            f"Some accuracies of {', '.join(flat)} have an interval of one point: every record"
            " counts alike, and the bootstrap cannot say what other questions would give."
        )
    return found


def _is_one_point(estimate: Mapping[str, Any] | None) -> bool:
    return estimate is not None and estimate["low"] is not None and estimate["low"] == estimate["high"]


def chance_meaning(result: Mapping[str, Any]) -> str:
    """What stands beside an ECE as its value by chance."""
    return (
        "ECE is above 0 by chance too: the column beside it is that of labels drawn with the scorer's own"
        f" probabilities (mean, and what {level_of(result)} of the draws do not exceed)."
    )


def left_out(result: Mapping[str, Any]) -> list[str]:
    """What of the files no figure counts, a line each."""
    lines = []
    for subset, held in result.get("left_out", {}).items():
        if held["bad_records"]:
            lines.append(f"{subset}: {held['bad_records']} bad records; the first: {held['reasons'][0]}")
        if held["whole_response_scorers"]:
            lines.append(
                f"{subset}: {', '.join(held['whole_response_scorers'])}: one value a response, no"
                " score of steps"
            )
    return lines
