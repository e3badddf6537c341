"""steps.md: the figures of a step evaluation, and what they are based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dreamprm.evaluation.number_text import MEAN, MISSING, decimal, markdown_table, percent
from dreamprm.evaluation.steps import wording
from dreamprm.evaluation.steps.first_errors import GUESSES
from dreamprm.evaluation.steps.wording import words
from dreamprm.files.markdown import values_as_text


def page(result: Mapping[str, Any]) -> str:
    """The page, in Markdown."""
    result = values_as_text(result)  # names of subsets and scorers come from files
    settings = result["settings"]
    parts = [
        "# Step-level evaluation",
        f"In brackets: {wording.level_of(result)} intervals, percentile bootstrap over questions"
        f" ({settings['resamples']} samples, seed {settings['seed']}). Means are unweighted, over the"
        " subsets that have the figure.",
        *_records(result),
        *_first_errors(result),
        *_step_f1(result),
        *_mr_score(result),
        *_aucs(result),
        *_calibration(result),
        *_differences(result),
        *_left_out(result),
    ]
    return "\n\n".join(parts) + "\n"


def _records(result: Mapping[str, Any]) -> list[str]:
    keys = (
        "labels",
        "records",
        "development_records",
        "test_records",
        "erroneous",
        "correct",
        "first_error_unknown",
        "labelled_steps",
    )
    head = [
        "subset",
        "labels",
        "records",
        "for the threshold",
        "counted",
        "erroneous",
        "correct",
        "first error unknown (left out of F1)",
        "labelled steps",
    ]
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
        return [heading, wording.NO_FIRST_ERROR]
    rows = []
    for name, threshold in result["thresholds"].items():
        found = threshold.get("development")
        reached = (
            [percent(found[figure]) for figure in ("f1", "error_accuracy", "correct_accuracy")]
            if (found)
            else ["given", "", ""]
        )
        rows.append([name, f"{threshold['probability']:.4g}", f"{threshold['log_odds']:.4g}", *reached])
    head = ["scorer", "threshold", "its log-odds", "development F1", "erroneous", "correct"]
    text = [
        heading,
        f"{wording.FIRST_ERROR} {wording.threshold_choice(result)}",
        _subset_table(result, figures["f1"], _percents),
        "Guesses do not look at the steps: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in GUESSES.items() if name in figures["f1"])
        + ".",
        "Accuracy on erroneous / on correct records (%):",
        _pairs(result, figures["error_accuracy"], figures["correct_accuracy"]),
        _table(head, rows),
    ]
    poor = wording.without_finds(result)
    return [*text, *([poor] if poor else []), *wording.cautions(result)]


def _step_f1(result: Mapping[str, Any]) -> list[str]:
    held = result.get("step_f1")
    if not held or not held["figures"]["micro_f1"]:
        return []
    figures = held["figures"]
    rows = {
        f"{scorer}, {shown}": subsets
        for figure, shown in wording.STEP_F1_FIGURES.items()
        for scorer, subsets in figures[figure].items()
    }
    thresholds = [
        [
            scorer,
            f"{one['probability']:.4g}",
            f"{one['log_odds']:.4g}",
            percent(one["development"]["f1"]) if "development" in one else "given",
        ]
        for scorer, one in held["thresholds"].items()
    ]
    text = [
        "## Step F1 (VisualProcessBench, PRMBench)",
        wording.STEP_F1 + wording.without_domains(held["without"]),
        _subset_table(result, rows, _percents),
    ]
    for scorer, subsets in held["domains"].items():
        for subset, domains in subsets.items():
            head = [f"{scorer}, {subset}", *wording.STEP_F1_OF_DOMAINS.values()]
            cells = [
                [domain, *(_percents(one[figure]) for figure in wording.STEP_F1_OF_DOMAINS)]
                for domain, one in domains.items()
            ]
            text.append(_table(head, cells))
    if held["pooled"]:
        pooled = [
            [scorer, _percents(one["f1"]), _percents(one["accuracy"])]
            for scorer, one in held["pooled"].items()
        ]
        text.append(_table(["all subsets pooled", "micro F1", "accuracy"], pooled))
    return [*text, _table(["scorer", "threshold", "its log-odds", "development micro F1"], thresholds)]


def _mr_score(result: Mapping[str, Any]) -> list[str]:
    held = result.get("mr_score")
    if not held:
        return []
    rows = {
        f"{scorer}, {shown}": subsets
        for figure, shown in wording.MR_FIGURES.items()
        for scorer, subsets in held[figure].items()
    }
    return ["## Whole solutions (MR-Ben)", wording.MR_SCORE, _subset_table(result, rows, _decimals)]


def _aucs(result: Mapping[str, Any]) -> list[str]:
    rows: dict[str, Mapping[str, Any]] = {}
    for scorer, scopes in result["auc"].items():
        for scope, kinds in scopes.items():
            for kind, subsets in kinds.items():
                if any(subsets.values()):
                    rows[f"{scorer}, {words(kind)}, {words(scope)}"] = subsets
    if not rows:
        return []
    return ["## Step AUC", wording.AUC, _subset_table(result, rows, _decimals)]


def _calibration(result: Mapping[str, Any]) -> list[str]:
    scope = wording.shown_scope(result)
    rows = []
    for scorer, scopes in result["calibration"].items():
        for subset, held in scopes[scope].items():
            chance = held["equal_mass"]["ece_if_calibrated"]
            by_chance = MISSING
            if chance is not None:
                by_chance = f"{decimal(chance['mean'])}, up to {decimal(chance['high'])}"
            rows.append(
                [
                    scorer,
                    subset,
                    held["steps"],
                    decimal(held["mean_label"]),
                    decimal(held["mean_probability"]),
                    _decimals(held["equal_width"]["ece"]),
                    _decimals(held["equal_mass"]["ece"]),
                    by_chance,
                    _decimals(held["brier"]),
                    decimal(held["base_rate_brier"]),
                ]
            )
    head = [
        "scorer",
        "subset",
        "steps",
        "mean label",
        "mean probability",
        "ECE, equal width",
        "ECE, equal mass",
        "equal mass, by chance",
        "Brier",
        "Brier of the mean label",
    ]
    return [
        "## Calibration",
        f"Steps counted: {words(scope)}. {wording.chance_meaning(result)}",
        _table(head, rows),
    ]


def _differences(result: Mapping[str, Any]) -> list[str]:
    held = result.get("differences")
    if not held:
        return []
    text = [f"## Differences from {held['baseline']}", wording.PAIRED]
    for figure, scorers in held.items():
        if figure != "baseline" and any(scorers.values()):
            cell = _decimals if figure.startswith("auc") else _percents
            text += [f"{words(figure)}:", _subset_table(result, scorers, cell)]
    return text


def _left_out(result: Mapping[str, Any]) -> list[str]:
    lines = [f"- {line}" for line in wording.left_out(result)]
    return ["## Left out", "\n".join(lines)] if lines else []


def _subset_table(result: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], cell: Any) -> str:
    names = [*result["subsets"], MEAN]
    used = [name for name in names if any(name in subsets for subsets in rows.values())]
    return _table(
        ["", *used], [[row, *(cell(subsets.get(name)) for name in used)] for row, subsets in rows.items()]
    )


def _pairs(result: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    both = {
        row: {name: (one, second[row].get(name)) for name, one in subsets.items()}
        for row, subsets in first.items()
    }
    return _subset_table(
        result,
        both,
        lambda pair: (
            MISSING
            if pair is None
            else " / ".join(MISSING if one is None else percent(one["value"]) for one in pair)
        ),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join(markdown_table(head, rows))


def _percents(estimate: Mapping[str, Any] | None) -> str:
    return _cell(estimate, percent)


def _decimals(estimate: Mapping[str, Any] | None) -> str:
    return _cell(estimate, decimal)


def _cell(estimate: Mapping[str, Any] | None, shown: Any) -> str:
    if estimate is None:
        return MISSING
    if estimate["low"] is None:
        return f"{shown(estimate['value'])} [{MISSING}]"
    return f"{shown(estimate['value'])} [{shown(estimate['low'])}, {shown(estimate['high'])}]"
