"""steps.md: the figures of a step evaluation for a reader, with what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "n/a"
MEANINGS = {
    "always_correct": "-1 for every record",
    "random": "one of -1 and the steps at random",
    "majority": "the commonest answer of the development set",
    "blind": "-1 or the commonest first error of the development set, mixed for the highest F1",
}
"""The guesses, for readers."""


def shown_scope(result: Mapping[str, Any]) -> str:
    """The scope of the calibration that is shown: the one asked for, or `all` where that holds nothing."""
    wanted = str(result["settings"]["scope"])
    held = any(scopes.get(wanted) for scopes in result["calibration"].values())
    return wanted if held else "all"


def page(result: Mapping[str, Any]) -> str:
    """The page, in Markdown."""
    settings = result["settings"]
    level = f"{100 * settings['level']:g} %"
    parts = [
        "# Step-level evaluation",
        f"In brackets: {level} intervals, percentile bootstrap over questions ({settings['resamples']}"
        f" samples, seed {settings['seed']}). Means are unweighted, over the subsets that have the figure.",
        *_records(result), *_first_errors(result), *_aucs(result), *_calibration(result, level),
        *_differences(result), *_left_out(result),
    ]
    return "\n\n".join(parts) + "\n"


def _records(result: Mapping[str, Any]) -> list[str]:
    keys = ("labels", "records", "development_records", "test_records", "erroneous", "correct",
            "first_error_unknown", "labelled_steps")
    head = ["subset", "labels", "records", "for the threshold", "counted", "erroneous", "correct",
            "first error unknown (left out of F1)", "labelled steps"]
    apart = result["settings"]["development_subset"]
    rows = [
        [f"{name} (development)" if name == apart else name, *(held[key] for key in keys)]
        for name, held in result["subsets"].items()
    ]
    return ["## Records", _table(head, rows)]


def _first_errors(result: Mapping[str, Any]) -> list[str]:
    heading = "## First error (ProcessBench's protocol)"
    figures = result["first_error"]
    if not figures.get("f1"):
        return [
            heading,
            "Not measured: no record tells its first error. Labels between 0 and 1 are estimates;"
            " label_threshold says which of them are right.",
        ]
    rows = []
    for name, threshold in result["thresholds"].items():
        found = threshold.get("development")
        reached = [_percent(found[figure]) for figure in ("f1", "error_accuracy", "correct_accuracy")] if (
            found) else ["given", "", ""]
        rows.append([name, f"{threshold['probability']:.4g}", f"{threshold['log_odds']:.4g}", *reached])
    head = ["scorer", "threshold", "its log-odds", "development F1", "erroneous", "correct"]
    text = [
        heading,
        "F1 is the harmonic mean of the accuracy on erroneous records (index of the first error exact) and"
        " on correct ones (none found), in %. A step below the threshold is an error. " + _chosen(result),
        _subset_table(result, figures["f1"], _percents),
        "Guesses look at no step: " + "; ".join(
            f"{name}: {meaning}" for name, meaning in MEANINGS.items() if name in figures["f1"]) + ".",
        "Accuracy on erroneous / on correct records (%):",
        _pairs(result, figures["error_accuracy"], figures["correct_accuracy"]),
        _table(head, rows),
    ]
    poor = [name for name, one in result["thresholds"].items() if one.get("development", {}).get("f1") == 0]
    if poor:
        text.append(
            f"No threshold gives {', '.join(poor)} a development F1 above 0; the lowest one is taken.")
    return text


def _chosen(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    ways = {
        "split": "The threshold is the one with the highest F1 on the development questions of all subsets,"
                 " which no figure counts",
        "subset": f"The threshold is the one with the highest F1 on {settings['development_subset']}, whose"
                  " own figures are therefore too good and do not enter the mean",
        "file": "The threshold is the one with the highest F1 on a development file of its own",
        "nothing": "The threshold was given",
    }
    held = result["development"]
    size = "" if held is None else f" ({held['erroneous']} erroneous and {held['correct']} correct records)"
    return f"{ways[settings['threshold_chosen_on']]}{size}."


def _aucs(result: Mapping[str, Any]) -> list[str]:
    rows: dict[str, Mapping[str, Any]] = {}
    for scorer, scopes in result["auc"].items():
        for scope, kinds in scopes.items():
            for kind, subsets in kinds.items():
                if any(subsets.values()):
                    rows[f"{scorer}, {_words(kind)}, {_words(scope)}"] = subsets
    if not rows:
        return []
    return [
        "## Step AUC",
        "The share of (right, wrong) pairs of steps in which the right one scores higher; 0.5 is chance."
        " Pooled compares steps of all records, per record those of one record. By the labels' convention"
        ' every step behind the first error is wrong: "all" counts them, "up to first error" does not.',
        _subset_table(result, rows, _decimals),
    ]


def _calibration(result: Mapping[str, Any], level: str) -> list[str]:
    scope = shown_scope(result)
    rows = []
    for scorer, scopes in result["calibration"].items():
        for subset, held in scopes[scope].items():
            chance = held["equal_mass"]["ece_if_calibrated"]
            by_chance = MISSING
            if chance is not None:
                by_chance = f"{_decimal(chance['mean'])}, up to {_decimal(chance['high'])}"
            rows.append([
                scorer, subset, held["steps"], _decimal(held["mean_label"]),
                _decimal(held["mean_probability"]), _decimals(held["equal_width"]["ece"]),
                _decimals(held["equal_mass"]["ece"]), by_chance, _decimals(held["brier"]),
                _decimal(held["base_rate_brier"])])
    head = ["scorer", "subset", "steps", "mean label", "mean probability", "ECE, equal width",
            "ECE, equal mass", "equal mass, by chance", "Brier", "Brier of the mean label"]
    return [
        "## Calibration",
        f"Steps counted: {_words(scope)}. ECE is above 0 by chance too: the column beside it is that of"
        f" labels drawn with the scorer's own probabilities (mean, and what {level} of the draws do not"
        " exceed).",
        _table(head, rows),
    ]


def _differences(result: Mapping[str, Any]) -> list[str]:
    held = result.get("differences")
    if not held:
        return []
    text = [f"## Differences from {held['baseline']}", "Paired: both scorers on the same drawn questions."]
    for figure, scorers in held.items():
        if figure != "baseline" and any(scorers.values()):
            cell = _decimals if figure.startswith("auc") else _percents
            text += [f"{_words(figure)}:", _subset_table(result, scorers, cell)]
    return text


def _left_out(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for subset, held in result.get("left_out", {}).items():
        if held["bad_records"]:
            lines.append(f"- {subset}: {held['bad_records']} bad records; the first: {held['reasons'][0]}")
        if held["whole_response_scorers"]:
            lines.append(f"- {subset}: {', '.join(held['whole_response_scorers'])}: one value a response, no"
                         " score of steps")
    return ["## Left out", "\n".join(lines)] if lines else []


def _subset_table(result: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], cell: Any) -> str:
    names = [*result["subsets"], "mean"]
    used = [name for name in names if any(name in subsets for subsets in rows.values())]
    return _table(["", *used], [[row, *(cell(subsets.get(name)) for name in used)]
                                for row, subsets in rows.items()])


def _pairs(result: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    both = {
        row: {name: (one, second[row].get(name)) for name, one in subsets.items()}
        for row, subsets in first.items()
    }
    return _subset_table(result, both, lambda pair: MISSING if pair is None else " / ".join(
        MISSING if one is None else _percent(one["value"]) for one in pair))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [[str(cell).replace("|", "\\|") for cell in line] for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _decimal(value: float) -> str:
    return f"{value:.3f}"


def _percents(estimate: Mapping[str, Any] | None) -> str:
    return _cell(estimate, _percent)


def _decimals(estimate: Mapping[str, Any] | None) -> str:
    return _cell(estimate, _decimal)


def _cell(estimate: Mapping[str, Any] | None, shown: Any) -> str:
    if estimate is None:
        return MISSING
    if estimate["low"] is None:
        return f"{shown(estimate['value'])} [{MISSING}]"
    return f"{shown(estimate['value'])} [{shown(estimate['low'])}, {shown(estimate['high'])}]"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")
