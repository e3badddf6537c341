"""The figures of an evaluation as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dreamprm.evaluation.number_text import (
    MEAN,
    level_text,
    markdown_table,
    mean_members,
    p_text,
    percent_interval,
)
from dreamprm.evaluation.selector_names import meaning
from dreamprm.evaluation.significance import baseline_letters, error_rate, how_tested, significant_against
from dreamprm.files.markdown import values_as_text

_FEW = 50


def evaluation_page(result: Mapping[str, Any]) -> str:
    """The text of evaluation.md, from the content of evaluation.json."""
    result = values_as_text(result)  # names of suites, scorers and generators come from files
    level = level_text(result["level"])
    parts = [
        "# Evaluation",
        "",
        *_bullets(notes(result)),
        "",
        "## Accuracy with all N candidates",
        "",
        f"In %; in brackets, the {level} bootstrap interval over questions "
        f"({result['resamples']:,} resamples, seed {result['seed']}).",
        "",
        *_accuracy(result),
        "",
        *_legend(result),
        *_mean_meaning(result),
        "",
        "What each selector picks:",
        "",
        *(f"- {name}: {meaning(name, result['aggregations'])}" for name in result["best_of_n"]),
    ]
    if result["differences"]:
        parts += ["", "## Differences", "", *_differences_head(result, level), "", *_differences(result)]
    parts += [
        "",
        "## Accuracy over n",
        "",
        "Mean over all subsets of n candidates: no subset is chosen.",
        "",
        *_over_n(result),
    ]
    if any(row["accuracy"] for row in result["generators"].values()):
        parts += ["", "## Single generators", "", *_generators(result)]
    picked = {name: row for name, row in result["aggregations"].items() if "development" in row}
    if picked:
        parts += ["", "## Aggregations picked on development", "", *_picked(picked, result)]
    if result["checkpoints"]:
        parts += ["", "## Checkpoints picked on development", "", *_checkpoints(result)]
    parts += ["", "## Suites", "", *_suites(result)]
    return "\n".join(parts) + "\n"


def notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the figures: one sentence each."""
    found = []
    for name, suite in result["suites"].items():
        if suite["questions"] < _FEW:
            found.append(
                f"{name} has {suite['questions']} questions; bootstrap intervals over so few are too narrow."
            )
        if suite["judged"]:
            counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(suite["judged"].items()))
            found.append(
                f"{name}: {sum(suite['judged'].values())} candidates came without a verdict and "
                f"were judged ({counts}); undecided counts as wrong."
            )
        if suite["graded"]:
            found.append(
                f"{name}: {suite['graded']} candidates have a credit between 0 and 1; accuracy is the mean "
                "credit."
            )
        if suite["without_answer"]:
            candidates = sum(int(n) * count for n, count in suite["candidates"].items())
            found.append(
                f"{name}: {suite['without_answer']} of {candidates} candidates state no final "
                "answer; they have no vote, and if no candidate of a question has one, majority and "
                "weighted votes count as wrong."
            )
        if suite["left_out"]:
            found.append(f"{name}: {suite['left_out']} bad records were left out.")
        if len(suite["candidates"]) > 1:
            found.append(
                f"{name}: candidates per question: {_counts(suite['candidates'])}; at size n, a question "
                "with fewer candidates enters with all of them."
            )
        found += [f"{name}: {warning}" for warning in suite["warnings"]]
        flat = [
            selector
            for selector, row in result["intervals"].items()
            if name in row and row[name][0] == row[name][1]
        ]
        if flat:
            found.append(
                f"{name}: every question has the same outcome under {', '.join(flat)}, so the interval is a "
                "single point and says nothing about other questions."
            )
    best = {name: row["best"] for name, row in result["generators"].items() if row["best"]}
    if any(row["chosen_on"] == "test" for row in best.values()):
        found.append(
            "The best single generator was chosen on the test answers themselves, which makes its accuracy "
            "slightly too high, in its favour."
        )
    if result["monte_carlo_standard_errors"]:
        worst = max(
            error
            for row in result["monte_carlo_standard_errors"].values()
            for by_n in row.values()
            for error in by_n.values()
        )
        found.append(
            "Where there are too many subsets to enumerate, they are sampled, with a standard error of the "
            f"mean of at most {100 * worst:.2f} points."
        )
    picked = [name for name, row in result["aggregations"].items() if "development" in row]
    for name, choice in result["checkpoints"].items():
        found.append(
            f"{name} is {choice['picked']}, the most accurate of {len(choice['development'])} "
            f"checkpoints on {', '.join(result['development'])}."
        )
    if picked:
        found.append(
            f"The aggregations of {', '.join(picked)} were picked on "
            f"{', '.join(result['development'])}; their figures there are below."
        )
    elif result["aggregations"] and not result["checkpoints"]:
        found.append("Nothing was picked: every aggregation is fixed in the configuration.")
    return found


def _accuracy(result: Mapping[str, Any]) -> list[str]:
    places = _places(result)
    letters, marks = baseline_letters(result), significant_against(result)
    rows = []
    for selector, by_place in result["best_of_n"].items():
        cells = []
        for place in places:
            if place not in by_place:
                cells.append("")
                continue
            mark = " ".join(sign + letters[name] for sign, name in marks.get((selector, place), []))
            cells.append(
                percent_interval(by_place[place], result["intervals"][selector][place])
                + (f" {mark}" if mark else "")
            )
        rows.append([f"**{selector}**", *cells])
    return markdown_table(["selector", *places], rows)


def _legend(result: Mapping[str, Any]) -> list[str]:
    letters = baseline_letters(result)
    if not letters:
        return []
    listed = ", ".join(f"{letter}: {name}" for name, letter in letters.items())
    return [
        f"Marks: + better, - worse than {listed}; only for pairs compared below, and only if Holm's "
        f"adjusted p is below {error_rate(result)}."
    ]


def _mean_meaning(result: Mapping[str, Any]) -> list[str]:
    members = mean_members(result)
    if set(members) == set(result["suites"]):
        return []
    return ["", f"mean: the unweighted mean over {', '.join(members)}."]


def _differences_head(result: Mapping[str, Any], level: str) -> list[str]:
    return [f"Percentage points, with the {level} paired bootstrap interval. {how_tested(result)}"]


def _differences(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for row in result["differences"]:
        low, high = row["interval"]
        rows.append(
            [
                f"{row['method']} - {row['baseline']}",
                row["suite"],
                f"{100 * row['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
                f"{row['better']}/{row['worse']}",
                ("~" if row["test"] == "sign_flip" else "") + p_text(row["p"]),
                p_text(row["p_holm"]) + (" *" if row["significant"] else ""),
            ]
        )
    return markdown_table(["pair", "suite", "difference", "better/worse", "p", "Holm"], rows)


def _over_n(result: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for place in _places(result):
        sizes = list(dict.fromkeys(n for row in result["accuracy_by_n"].values() for n in row.get(place, {})))
        rows = []
        for selector, by_place in result["accuracy_by_n"].items():
            if place in by_place:
                bands = result["intervals_by_n"][selector][place]
                rows.append(
                    [
                        selector,
                        *(percent_interval(by_place[place][n], bands[n]) for n in sizes),
                    ]
                )
        lines += [f"### {place}", "", *markdown_table(["selector", *(f"n = {n}" for n in sizes)], rows), ""]
    return lines[:-1]


def _generators(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, generators in result["generators"].items():
        best = generators["best"]
        for generator, row in generators["accuracy"].items():
            questions = result["suites"][name]["questions"]
            share = "all" if row["questions"] == questions else f"{row['questions']} of {questions}"
            chosen = f"best, chosen on {best['chosen_on']}" if best and best["name"] == generator else ""
            rows.append(
                [
                    name,
                    generator,
                    percent_interval(row["accuracy"], row["interval"]),
                    share,
                    chosen,
                ]
            )
    return [
        "Mean over a generator's own candidates. Only a generator that answered every question can be the "
        "best.",
        "",
        *markdown_table(["suite", "generator", "accuracy", "questions", ""], rows),
    ]


def _picked(picked: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    names = list(next(iter(picked.values()))["development"])
    rows = [
        [
            scorer,
            *(
                ("**{}**" if name == row["aggregation"] else "{}").format(
                    percent_interval(figure["accuracy"], figure["interval"])
                )
                for name, figure in row["development"].items()
            ),
        ]
        for scorer, row in picked.items()
    ]
    development = ", ".join(
        f"{name} ({suite['questions']} questions)" for name, suite in result["development"].items()
    )
    return [
        f"Best-of-N accuracy with all candidates, mean over the development suites {development}; bold: "
        "picked.",
        "",
        *markdown_table(["scorer", *names], rows),
    ]


def _checkpoints(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, choice in result["checkpoints"].items():
        for scorer, figure in choice["development"].items():
            rows.append(
                [
                    name,
                    scorer,
                    figure["aggregation"],
                    percent_interval(figure["accuracy"], figure["interval"]),
                    "picked" if scorer == choice["picked"] else "",
                ]
            )
    return markdown_table(["model", "checkpoint", "aggregation", "accuracy on development", ""], rows)


def _suites(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for role in ("suites", "development"):
        for name, suite in result[role].items():
            rows.append(
                [
                    name,
                    "test" if role == "suites" else "development",
                    str(suite["questions"]),
                    _counts(suite["candidates"]),
                    ", ".join(suite["files"]),
                ]
            )
    return markdown_table(["suite", "used for", "questions", "candidates per question", "files"], rows)


def _places(result: Mapping[str, Any]) -> list[str]:
    names = list(result["suites"])
    return [*names, MEAN] if len(names) > 1 else names


def _counts(candidates: Mapping[str, int]) -> str:
    if len(candidates) == 1:
        return next(iter(candidates))
    return ", ".join(f"{n} ({count} questions)" for n, count in candidates.items())


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]
