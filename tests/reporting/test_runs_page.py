"""A page over several runs: overview, seeds together, weights side by side; what single runs are called."""

import json
import math
import re

import numpy as np
import pytest

from dreamprm.evaluation.plots import style
from dreamprm.reporting import final_table, read_run, render_report, sections
from dreamprm.reporting.contents import read_report
from dreamprm.reporting.plots import PLOTS
from dreamprm.reporting.plots.weights_of_runs import (
    by_weight,
    final_weights_of_runs,
    weights_over_time_of_runs,
)
from dreamprm.reporting.sections import overview, provenance, weights
from dreamprm.reporting.sections.overview import shared_suites


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are made but not drawn, which takes long: what they show is tested on the figures."""
    monkeypatch.setattr(style, "png", lambda figure: b"PNG")
    monkeypatch.setattr(weights, "png", lambda figure: b"PNG")


def table(section, number=0):
    """The cells of a section's table as text, its head first; what is small in a cell follows a bar."""
    html = re.findall(r"<table>(.*?)</table>", str(section.body), flags=re.DOTALL)[number]
    return [
        [
            re.sub(r"<[^>]*>", "", cell.replace("<small>", "|"))
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)
        ]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", html, flags=re.DOTALL)
    ]


def only(module, report):
    found = list(module.sections(report))
    assert len(found) == 1
    return found[0]


def shown(value):
    return f"{100 * value:.1f}"


def test_overview_has_a_row_a_run(make_run, make_vanilla):
    report = read_report([make_run("a-seed0", 0), make_vanilla("v", 1, seconds=61.0)])
    summaries = [run.summary for run in report.runs]
    rows = table(only(overview, report))
    suites = list(summaries[0]["best_of_n"]["vanilla"])
    assert rows[0] == [
        "run",
        "trained",
        "seed",
        "steps",
        "estimator",
        "time",
        *suites,
        "rank correlation",
        "targets",
    ]
    assert rows[1][:6] == ["a-seed0", "learned weights", "0", "1800", "first_order", "7:12"]
    assert rows[2][:6] == ["v", "vanilla PRM", "1", "1800", "none", "1:01"]
    for row, summary, selector in zip(rows[1:], summaries, ("dreamprm", "vanilla"), strict=True):
        low, high = summary["intervals"][selector]["mean"]
        assert [cell.split("|")[0] for cell in row[6:-2]] == [
            shown(value) for value in summary["best_of_n"][selector].values()
        ]
        assert row[-3].split("|")[1] == f"{shown(low)}-{shown(high)}"
    assert rows[1][-2:] == [f"{summaries[0]['spearman']:.2f}", "met"] and rows[2][-2:] == ["n/a", "none"]
    assert "Over seeds" not in only(overview, report).body


def test_seeds_are_summarised(make_run):
    report = read_report([make_run(f"a-seed{seed}", seed) for seed in (0, 1, 2)])
    rows = table(only(overview, report), 1)
    values = [run.summary["best_of_n"]["dreamprm"]["styles"] for run in report.runs]
    assert rows[1][:3] == ["a-seed*", "learned weights", "0, 1, 2"]
    assert rows[1][rows[0].index("styles")] == (
        f"{shown(sum(values) / 3)} ({shown(min(values))} to {shown(max(values))})"
    )
    correlations = [run.summary["spearman"] for run in report.runs]
    assert rows[1][-1] == f"{np.mean(correlations):.2f} ({min(correlations):.2f} to {max(correlations):.2f})"


def test_only_shared_suites_are_compared(make_run):
    first, second = make_run("a"), make_run("b", 1)
    path = second / "summary.json"
    summary = json.loads(path.read_text())
    for key in ("best_of_n", "intervals"):
        for row in summary[key].values():
            del row["styles"]
    path.write_text(json.dumps(summary | {"shifted_suites": ["reasoner", "two_ops"]}))
    report = read_report([first, second])
    suites = ["held_out", "new_values", "reasoner", "two_ops", "mixed_skills"]
    assert shared_suites(report.runs) == ([*suites, "mean"], suites)
    rows = table(only(overview, report))
    for row, run in zip(rows[1:], report.runs, strict=True):
        # Over the shared suites, so neither run's own mean nor its interval.
        assert row[rows[0].index("mean")] == shown(
            np.mean([run.summary["best_of_n"]["dreamprm"][name] for name in suites])
        )
    assert "mean: over the suites held_out, new_values, reasoner," in only(overview, report).body


def test_suites_from_other_files_are_told(make_run):
    def config(place):
        return {"evaluation": {"suites": {"styles": f"{place}/styles.jsonl"}}}

    same = [make_run(f"a{seed}", seed, config=config("data")) for seed in (0, 1)]
    other = make_run("b", config=config("elsewhere"))
    assert "Not all runs read" not in only(overview, read_report(same)).body
    body = only(overview, read_report([*same, other])).body
    assert "Not all runs read their suites from the same files" in body


def test_weights_side_by_side(make_run, make_vanilla):
    report = read_report(
        [
            make_run("a-seed0", 0),
            make_vanilla("v"),
            make_run("a-seed1", 1),
            make_run("b", 1, config={"lr": 2}),
        ]
    )
    section = only(weights, report)
    rows = table(section)
    assert rows[0] == ["domain", "planted quality", "a-seed0", "a-seed1", "b", "a-seed*: mean (min to max)"]
    learned = [run.summary["weights"] for run in report.runs if run.name != "v"]
    assert [row[0] for row in rows[1:]] == sorted(
        learned[0], key=lambda name: -sum(one[name] for one in learned)
    )
    for row in rows[1:]:
        each = [one[row[0]] for one in learned]
        assert row[2:5] == [f"{weight:.2f}" for weight in each]
        assert row[5] == f"{sum(each[:2]) / 2:.2f} ({min(each[:2]):.2f} to {max(each[:2]):.2f})"
    assert "same weight: v (vanilla PRM)." in section.body and section.title == "Learned domain weights"
    assert section.body.count("<img") == 3
    correlations = table(section, 1)
    assert [row[0] for row in correlations[1:]] == ["a-seed0", "a-seed1", "b"] and correlations[1][2] == "15"


def test_other_domains_under_the_same_names_are_not_averaged(make_run):
    report = read_report([make_run("a0", 0), make_run("a1", 1, quality={"charts_bars": 0.1})])
    section = only(weights, report)
    assert table(section)[0] == ["domain", "a0", "a1"]
    assert "the seeds have different domains under the same names" in section.body


def test_a_run_that_does_not_know_the_difficulty_says_so(make_run):
    body = only(weights, read_report([make_run("a", generator_accuracy=None)])).body
    assert "The generator's accuracy by domain is not known" in body and body.count("<img") == 2
    both = only(weights, read_report([make_run("b"), make_run("c", generator_accuracy=None)])).body
    assert "c: The generator's accuracy by domain is not known" in both and "b: Spearman's rank" in both


def test_the_rank_correlation_with_difficulty(make_run):
    folder = make_run(
        "a",
        weights={"x": 1.0, "y": 2.0, "z": 4.0, "w": 3.0},
        generator_accuracy={"x": 0.1, "y": 0.2, "z": 0.3, "w": 0.4},
    )
    assert "generator's accuracy: <b>0.80</b> over 4 domains" in only(weights, read_report([folder])).body


@pytest.mark.parametrize(
    "changes, title",
    [({"estimator": "none"}, "vanilla PRM"), ({"estimator": "none", "baseline": "car"}, "baseline car")],
)
def test_runs_without_weights_are_not_called_learned(make_run, changes, title):
    names = json.loads((make_run("names") / "summary.json").read_text())["weights"]
    folder = make_run("v", weights=dict.fromkeys(names, 1.0), **changes)
    page = render_report(read_report([folder]))
    text = page[page.index("<body>") :].replace("PRM trained with learned weights", "")
    assert "earned weight" not in text and "earned domain weight" not in text
    assert f"All domains have the same weight: {title}" in page
    assert f"<td>{title}</td>" in page
    run = read_run(folder)
    assert PLOTS["final_weights"](run) is None and PLOTS["weights_over_time"](run) is None
    assert f"Domains\n  all 15 have the same weight ({title})" in final_table(run.summary)


def test_weights_of_a_baseline_are_called_its_own(make_run):
    folder = make_run("d", estimator="none", baseline="doremi")
    page = render_report(read_report([folder]))
    assert "weight in doremi" in page and ">Domain weights</h2>" in page
    figure = PLOTS["final_weights"](read_run(folder))
    assert figure.axes[0].get_xlabel() == "weight in doremi, alpha (1 = average domain)"
    assert "Domains by weight in doremi\n" in final_table(read_run(folder).summary)


def test_notes_settings_and_configurations_of_all_runs(make_run):
    report = read_report([make_run("a", notes=["of a"]), make_run("b", 1, notes=None, config={"lr": 0.5})])
    section = only(provenance, report)
    assert table(section, 1) == [["setting", "a", "b"], ["lr", "n/a", "0.5"]]
    assert "<h3>Notes: a</h3>" in section.body and "<h3>Notes: b</h3>" not in section.body
    assert section.body.count("<pre") == 2 and section.body.count("<details><summary>") == 2


def test_every_section_of_a_page_can_be_reached(make_run):
    page = render_report(read_report([make_run("a"), make_run("b", 1)]))
    anchors = re.findall(r'<section id="([^"]*)"', page)
    assert anchors == re.findall(r'<li><a href="#([^"]*)">', page) and len(anchors) == 5
    assert all(f'aria-labelledby="{anchor}-title"' in page for anchor in anchors)
    assert all(len(alt) > 20 for alt in re.findall(r'<img alt="([^"]*)"', page))


def test_sections_have_anchors_of_their_own(run_folder, monkeypatch):
    monkeypatch.setattr(sections, "SECTIONS", (provenance.sections, provenance.sections))
    with pytest.raises(ValueError, match="needs its own anchor; repeated: provenance"):
        render_report(read_report([run_folder]))


def test_domains_are_ordered_by_their_mean_weight():
    runs = [{"a": 1.0, "b": 3.0, "n": math.nan}, {"a": 2.5, "c": 2.0, "b": 0.0}]
    assert by_weight(runs) == ["c", "a", "b", "n"]


def test_final_weights_show_mean_and_range():
    figure = final_weights_of_runs({"s*": [{"x": 1.0}, {"x": 2.0}, {"x": 3.5}], "t": [{"x": 0.5, "y": 1.5}]})
    axes = figure.axes[0]
    marks = {tuple(np.round(line.get_xdata(), 6)) for line in axes.lines}
    assert marks >= {(1.0, 2.0, 3.5), (round(6.5 / 3, 6),), (0.5,), (1.5,)}
    segments = [segment for bars in axes.collections for segment in bars.get_segments()]
    assert [tuple(segment[:, 0]) for segment in segments] == [(1.0, 3.5)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["s*", "t"]
    assert final_weights_of_runs({"s": [{"x": math.nan}]}) is None


def test_weights_over_time_share_their_axes(make_run):
    folders = [make_run("a"), make_run("b", 1), make_run("none")]
    (folders[2] / "domain_weights.jsonl").unlink()
    runs = [read_run(folder) for folder in folders]
    figure = weights_over_time_of_runs(runs, ["A", "B", "N"])
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["A", "B"]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    for axes, run in zip(panels, runs):
        np.testing.assert_array_equal(axes.lines[3].get_ydata(), run.weights.values[:, 3])
        assert axes.get_ylim()[0] < run.weights.values.min() and run.weights.values.max() < axes.get_ylim()[1]
    assert weights_over_time_of_runs(runs[2:], ["N"]) is None
