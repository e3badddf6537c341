"""Figures of a summary as text, and the console's table of them."""

import json

import pytest

from dreamprm.evaluation.number_text import decimal, percent, signed_points
from dreamprm.reporting import final_table, run_figures


@pytest.fixture
def summary(run_folder):
    return json.loads((run_folder / "summary.json").read_text())


def test_numbers_as_text():
    shown = [percent(value) for value in (0.92041, None, float("nan"), "x")]
    assert shown == ["92.0", "n/a", "n/a", "n/a"]
    assert [signed_points(value) for value in (0.081, -0.02, None)] == ["+8.1", "-2.0", "n/a"]
    assert decimal(True) == "n/a" and decimal(0.94, 2) == "0.94"


def test_domains_by_weight_with_unknown_ones_last():
    weights = {"b": 1.0, "lost": float("nan"), "a": 1.0, "top": 2.0}
    rows = run_figures.domain_rows({"weights": weights, "quality": {"a": 0.5}})
    assert [row.name for row in rows] == ["top", "a", "b", "lost"]
    assert [row.quality == 0.5 for row in rows] == [False, True, False, False]


def test_verdict():
    targets = {
        "a": {"target": 1.0, "measured": 0.5, "met": False},
        "b": {"target": 0, "measured": 1, "met": True},
    }
    assert run_figures.verdict({"targets_met": False, "targets": targets}) == "Targets not met: a."
    assert run_figures.verdict({"targets_met": False}) == "The targets are not met."
    assert run_figures.verdict({"targets_met": True, "targets": targets}) == "All targets are met."
    assert run_figures.verdict({}) == ""


def test_table_shows_every_figure(summary):
    text = final_table(summary)
    lines = text.splitlines()
    for name, quality in summary["quality"].items():
        line = next(line for line in lines if line.split()[:1] == [name])
        assert line.split()[1:3] == [f"{quality:.2f}", f"{summary['weights'][name]:.2f}"]
    start = next(k for k, line in enumerate(lines) if line.startswith("Best-of-N"))
    for selector, row in summary["best_of_n"].items():
        place = next(k for k in range(start, len(lines)) if lines[k].split()[:1] == [selector])
        assert lines[place].split()[1:] == [f"{100 * value:.1f}" for value in row.values()]
        assert lines[place + 1].split() == [
            f"{100 * low:.1f}-{100 * high:.1f}" for low, high in summary["intervals"][selector].values()
        ]
    difference, low, high = (100 * value for value in summary["differences"]["dreamprm-vanilla"]["mean"])
    assert f"{difference:+.1f}" in text and f"{low:.1f}, {high:.1f}" in text
    assert "All targets are met." in text and "trained in this run" in text
    assert "mean: over the shifted suites new_values, styles, reasoner, two_ops, mixed_skills" in text


def test_width_and_ascii_whatever_the_names(summary):
    assert max(map(len, final_table(summary).splitlines())) <= 110
    long = "a_domain_name_that_goes_on_and_on_" * 4
    summary["weights"][long], summary["quality"][long] = 1.0, 0.5
    for key in ("best_of_n", "intervals"):
        summary[key] = {
            selector: {f"{long}{k}": value for k in range(12) for value in [row["mean"]]}
            for selector, row in summary[key].items()
        }
        summary[key][long] = summary[key]["vanilla"]
    summary.update(name=long, notes=["word " * 60], shifted_suites=[f"{long} {k}" for k in range(9)])
    summary["targets"][long] = {"target": 1.0, "measured": 0.5, "met": False}
    summary["targets_met"] = False
    text = final_table(summary)
    assert max(map(len, text.splitlines())) <= 110
    assert text.isascii() and "MISSED" in text
    # Twelve suites do not fit side by side: two blocks, so each selector stands twice.
    assert sum(line.split()[:1] == ["oracle"] for line in text.splitlines()) == 2


def test_a_run_without_suites_quality_or_targets():
    text = final_table({"name": "real", "steps": 10, "weights": {"gsm8k": 1.2, "math": 0.8}})
    assert text.splitlines() == [
        "Run real",
        "  steps: 10",
        "",
        "Domains by learned weight",
        "  domain  learned weight",
        "  gsm8k             1.20  " + "#" * 30,
        "  math              0.80  " + "#" * 20,
    ]
    assert final_table({}) == "Run"


def test_not_a_number_is_said():
    text = final_table(
        {
            "weights": {"a": float("nan"), "b": None},
            "best_of_n": {"vanilla": {"s": float("nan")}},
            "intervals": {"vanilla": {"s": [None, None]}},
            "differences": {"a-b": {"s": [0.1, 0.0, 0.2]}},
        }
    )
    assert "nan" not in text and text.count("n/a") == 3
    assert "a minus b" in text and "+10.0" in text
