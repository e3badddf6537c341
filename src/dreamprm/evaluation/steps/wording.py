"""The sentences that explain a step evaluation's figures; steps.md and the report share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dreamprm.evaluation.number_text import level_text

FIRST_ERROR = (
    "F1 is the harmonic mean of the accuracy on erroneous records (exact index of the first error) and on"
    " correct ones (no error found), in %. A step below the threshold counts as an error."
)
NO_FIRST_ERROR = (
    "Not measured: no record's first error is known. Labels between 0 and 1 are estimates;"
    " label_threshold says which of them count as right."
)
AUC = (
    "The share of (right, wrong) pairs of steps in which the right one scores higher; 0.5 is chance."
    " Pooled compares steps of all records, per record only those of the same record. By the labelling"
    ' convention, every step after the first error is wrong: "all" counts them, "up to first error" does not.'
)
STEP_F1 = (
    "In %: F1 of right and of wrong steps and their mean (f1), over every step judged right or wrong, also"
    " after the first error; micro: of all steps of a subset, macro: the mean over its domains. A step whose"
    " score is below the threshold counts as wrong; the threshold is the given one, or the one with the"
    " highest micro F1 on the development set."
)
STEP_F1_FIGURES = {
    "micro_f1": "micro F1",
    "macro_f1": "macro F1 over domains",
    "f1_right": "F1 of right steps",
    "f1_wrong": "F1 of wrong steps",
    "accuracy": "accuracy",
}
"""The figures of step F1 that are shown, and their names."""
STEP_F1_OF_DOMAINS = {
    "f1": "f1",
    "f1_right": "right steps",
    "f1_wrong": "wrong steps",
    "accuracy": "accuracy",
}
MR_SCORE = (
    "The verdict on a solution is that no step is below the first error's threshold. MCC: Matthews'"
    " correlation; ACC_step: the share of wrong solutions whose first error is found exactly. MR-Score has a"
    " third part, of weight .5, for explanations of the error, which a scorer of steps does not give: what is"
    " shown without it (.2 max(0, MCC) + .3 ACC_step) is at most .5 and no MR-Score."
)
MR_FIGURES = {
    "mcc": "MCC",
    "acc_step": "ACC_step",
    "mr_score_without_reason": "MR-Score without its reasons",
}
FEW = 50
"""With fewer records of a kind in a subset, bootstrap intervals of an accuracy over them are too narrow."""
PAIRED = "Paired: both scorers are compared on the same resampled questions."


def words(name: str) -> str:
    """A key of steps.json in words. Example: "up_to_first_error" -> "up to first error"."""
    return name.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")


def level_of(result: Mapping[str, Any]) -> str:
    """The level of all intervals, for instance "95 %"."""
    return level_text(result["settings"]["level"])


def shown_scope(result: Mapping[str, Any]) -> str:
    """The scope of the calibration that is shown: the one asked for, or `all` if that is empty."""
    wanted = str(result["settings"]["scope"])
    held = any(scopes.get(wanted) for scopes in result["calibration"].values())
    return wanted if held else "all"


def threshold_choice(result: Mapping[str, Any]) -> str:
    """How the thresholds were chosen, and what the development set held."""
    settings = result["settings"]
    ways = {
        "split": "The threshold is the one with the highest F1 on the development questions of all subsets,"
        " which are not counted in any figure",
        "subset": f"The threshold is the one with the highest F1 on {settings['development_subset']}, whose"
        " own figures are therefore too good and not included in the mean",
        "file": "The threshold is the one with the highest F1 on a separate development file",
        "nothing": "The threshold was given",
    }
    held = result.get("development")
    size = "" if held is None else f" ({held['erroneous']} erroneous and {held['correct']} correct records)"
    return f"{ways[settings['threshold_chosen_on']]}{size}."


def without_finds(result: Mapping[str, Any]) -> str:
    """A sentence on scorers that find nothing on the development set; "" if there are none."""
    poor = [
        name for name, one in result["thresholds"].items() if (one.get("development") or {}).get("f1") == 0
    ]
    if not poor:
        return ""
    return f"No threshold gives {', '.join(poor)} a development F1 above 0; the lowest one is used."


def cautions(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the first errors' intervals, one sentence each."""
    figures = result["first_error"]
    found = []
    for subset, held in result["subsets"].items() if figures.get("f1") else ():
        kinds = ("erroneous", "correct")
        few = [f"{held[kind]} {kind}" for kind in kinds if 0 < held[kind] < FEW]
        if few:
            found.append(
                f"{subset} has {' and '.join(few)} records; bootstrap intervals over so few are too narrow."
            )
    flat = [
        scorer
        for scorer in result["thresholds"]
        if any(_is_one_point(one) for rows in figures.values() for one in rows.get(scorer, {}).values())
    ]
    if flat:
        found.append(
            f"Some accuracies of {', '.join(flat)} have an interval of a single point: every record has the "
            "same outcome, and the bootstrap cannot say what other questions would give."
        )
    return found


def _is_one_point(estimate: Mapping[str, Any] | None) -> bool:
    return estimate is not None and estimate["low"] is not None and estimate["low"] == estimate["high"]


def chance_meaning(result: Mapping[str, Any]) -> str:
    """What the value by chance next to an ECE is."""
    return (
        "ECE is above 0 by chance too: the column next to it shows the ECE of labels drawn with the scorer's"
        f" own probabilities (mean, and the value that {level_of(result)} of the draws do not exceed)."
    )


def without_domains(names: Sequence[str]) -> str:
    """Which domains do not count, as a sentence; "" if all do."""
    return f" Without the domains {', '.join(names)}." if names else ""


def left_out(result: Mapping[str, Any]) -> list[str]:
    """What was left out of all figures, one line each."""
    lines = []
    for subset, held in result.get("left_out", {}).items():
        if held["bad_records"]:
            lines.append(f"{subset}: {held['bad_records']} bad records; the first: {held['reasons'][0]}")
        if held["whole_response_scorers"]:
            lines.append(
                f"{subset}: {', '.join(held['whole_response_scorers'])}: one value per response, no step "
                "scores"
            )
    return lines
