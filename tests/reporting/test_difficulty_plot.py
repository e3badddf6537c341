"""Weights against difficulty: which domains, the rank correlation, and names that cover nothing."""

import itertools
import math

import numpy as np
import pytest

from dreamprm.evaluation.plots.style import new_figure
from dreamprm.reporting import read_run
from dreamprm.reporting.plots.difficulty import (
    difficulty_of_runs,
    difficulty_points,
    name_points,
    rank_correlation,
    weights_against_difficulty,
)


def test_points_are_the_domains_of_which_both_are_known():
    points = difficulty_points(
        {
            "weights": {"a": 1.5, "b": 0.5, "lost": 1.0, "nan": math.nan},
            "generator_accuracy": {"b": 0.25, "a": 0.75, "gone": 0.5, "nan": 0.5, "lost": None},
        }
    )
    assert [(one.name, one.accuracy, one.weight) for one in points] == [("a", 0.75, 1.5), ("b", 0.25, 0.5)]


@pytest.mark.parametrize(
    "accuracies, weights, expected",
    [
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 4, 3], 0.8),  # 1 - 6 * 2 / (4 * 15)
        ([0.1, 0.2, 0.3], [3, 2, 1], -1.0),
        ([0.1, 0.2], [1, 1], None),
        ([0.3, 0.3], [1, 2], None),
        ([0.1], [1], None),
    ],
)
def test_rank_correlation(accuracies, weights, expected):
    points = difficulty_points(
        {
            "weights": {str(k): weight for k, weight in enumerate(weights)},
            "generator_accuracy": {str(k): one for k, one in enumerate(accuracies)},
        }
    )
    assert rank_correlation(points) == (expected if expected is None else pytest.approx(expected, abs=1e-12))


def test_the_plot_shows_each_domain(run_folder):
    run = read_run(run_folder)
    axes = weights_against_difficulty(run).axes[0]
    places = axes.collections[0].get_offsets()
    known = run.summary["generator_accuracy"]
    expected = [
        (100 * known[name], weight)
        for name, weight in sorted(run.summary["weights"].items(), key=lambda item: -item[1])
    ]
    np.testing.assert_allclose(places, expected)
    assert {text.get_text() for text in axes.texts} >= set(known)
    colours = axes.collections[0].get_facecolors()
    assert len({tuple(colour) for colour in colours}) > 10  # planted quality


def test_runs_share_their_axes_and_unknown_ones_are_left_out(make_run, make_vanilla):
    runs = [
        read_run(folder)
        for folder in (
            make_run("a", 0),
            make_vanilla("v"),
            make_run("b", 1),
            make_run("old", generator_accuracy=None),
        )
    ]
    figure = difficulty_of_runs(runs, ["A", "V", "B", "O"])
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["A", "B"]
    assert panels[0].get_xlim() == panels[1].get_xlim() and panels[0].get_ylim() == panels[1].get_ylim()
    assert difficulty_of_runs([runs[1], runs[3]], ["V", "O"]) is None


def test_names_cover_neither_points_nor_each_other():
    generator = np.random.default_rng(0)
    points = [tuple(point) for point in generator.uniform(0.1, 0.9, (14, 2))]
    figure = new_figure(7, 5)
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    figure.draw_without_rendering()
    notes = name_points(axes, points, [f"domain_{k}" for k in range(14)])
    boxes = [note.get_window_extent() for note in notes]
    places = axes.transData.transform(points)
    frame = axes.get_window_extent()
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(box.contains(*place) for box in boxes for place in places)
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes)
