"""The plots of an evaluation: which lines, bands and panels; that many labels do not overlap."""

import numpy as np
import pytest
from evaluated_folders import write_evaluation

from dreamprm.evaluation.plots import best_of_n as accuracy
from dreamprm.evaluation.selector_names import WEIGHTED
from dreamprm.reporting.folders.evaluation import read_evaluation
from dreamprm.reporting.plots import RUN_LEVEL
from dreamprm.reporting.plots.forest import forest


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plotted") / "seed0"
    return read_evaluation(write_evaluation(folder, questions=20)).result


def figures(selectors, *, suites=2):
    """Made-up accuracies of selectors: the k-th gains k thousandths with every doubling."""
    by_n = {
        name: {
            f"s{place}": {str(n): 0.3 + 0.001 * k * i for i, n in enumerate((1, 2, 4, 8))}
            for place in range(suites)
        }
        for k, name in enumerate(selectors)
    }
    bands = {
        name: {
            place: {n: [value - 0.05, value + 0.05] for n, value in row.items()}
            for place, row in rows.items()
        }
        for name, rows in by_n.items()
    }
    return {
        "accuracy_by_n": by_n,
        "intervals_by_n": bands,
        "best_of_n": {name: {place: row["8"] for place, row in rows.items()} for name, rows in by_n.items()},
    }


def detail(axes):
    return next(text.get_text() for text in axes.texts if "exact mean" in text.get_text())


def test_weighted_votes_and_partial_selectors_are_not_on_the_mean(result):
    shown = accuracy.evaluation_figures(result)
    axes = accuracy.mean_over_n(shown, level=0.9).axes[0]
    named = [text.get_text().split()[0] for text in axes.texts if "exact mean" not in text.get_text()]
    assert sorted(named) == sorted(
        name for name, row in result["best_of_n"].items() if "mean" in row and not name.startswith(WEIGHTED)
    )
    assert "best_generator" not in named and "first" in named
    line = axes.lines[named.index("dreamprm")]
    np.testing.assert_allclose(
        line.get_ydata(), [100 * value for value in result["accuracy_by_n"]["dreamprm"]["mean"].values()]
    )
    # Sixteen bands would cover each other: dreamprm's alone, as the text says.
    assert len(axes.collections) == 1 and detail(axes).endswith("band: 90 % interval of dreamprm")


@pytest.mark.parametrize(
    ("count", "suites", "bands", "words"),
    [
        (3, 1, 3, "bands: 99 % intervals"),
        (1, 1, 1, "band: 99 % interval of x0"),
        (9, 1, 0, "subsets"),
        (3, 2, 0, "subsets"),
    ],
)  # intervals of the suites alone, none of their mean
def test_the_text_says_the_level_and_which_bands_there_are(count, suites, bands, words):
    axes = accuracy.mean_over_n(figures([f"x{k}" for k in range(count)], suites=suites), level=0.99).axes[0]
    assert len(axes.collections) == bands and detail(axes).endswith(words)


def test_the_levels_of_runs_and_evaluations(result):
    title = accuracy.suites_with_all(result, level=0.8)._suptitle.get_text()
    assert title == "Best-of-N accuracy by suite, with 80 % intervals over questions"
    assert RUN_LEVEL == 0.95


@pytest.mark.parametrize("count", [13, 17, 30])
def test_names_at_the_line_ends_do_not_overlap(count):
    figure = accuracy.mean_over_n(figures([f"selector_{k}" for k in range(count)]), level=0.95)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    labels = [text for text in axes.texts if "exact mean" not in text.get_text()]
    middles = sorted(text.get_unitless_position()[1] * axes.bbox.height for text in labels)
    assert len(middles) == count and min(np.diff(middles)) >= figure.dpi * 9 / 72
    boxes = [text.get_window_extent() for text in labels]
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.height and box.x1 <= figure.bbox.width for box in boxes)


def test_one_panel_a_suite_with_all_its_selectors(result):
    figure = accuracy.suites_over_n(accuracy.evaluation_figures(result))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == list(result["suites"])
    assert [len(axes.lines) for axes in panels] == [16, 17, 16]  # best_generator: of the second suite alone
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        name for name in result["best_of_n"] if not name.startswith(WEIGHTED)
    ]
    values = result["accuracy_by_n"]["oracle"]["wemath"].values()
    np.testing.assert_allclose(panels[0].lines[-1].get_ydata(), [100 * value for value in values])


def test_a_single_suite_is_shown_once(result):
    one = {**result, "suites": {"s0": {}}, **figures(["vanilla", "dreamprm"], suites=1)}
    for key in ("best_of_n", "accuracy_by_n", "intervals_by_n"):
        one[key] = {name: {**row, "mean": row["s0"]} for name, row in one[key].items()}
    one["intervals"] = {name: {"s0": [0.1, 0.2], "mean": [0.1, 0.2]} for name in one["best_of_n"]}
    shown = accuracy.evaluation_figures(one)
    assert list(shown["best_of_n"]["dreamprm"]) == ["s0"]
    axes = accuracy.mean_over_n(shown, level=0.95).axes[0]
    assert detail(axes).startswith("one suite: s0") and len(axes.collections) == 2
    assert accuracy.suites_over_n(shown) is None


def test_the_forest_shows_each_difference_of_one_method(result):
    figure = forest(result, "dreamprm")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [*result["suites"], "mean"]
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    rows = [row for row in result["differences"] if row["method"] == "dreamprm"]
    assert names == [f"minus {name}" for name in dict.fromkeys(row["baseline"] for row in rows)]
    for axes, place in zip(panels, (*result["suites"], "mean")):
        here = [row for row in rows if row["suite"] == place]
        zero, *dots = axes.lines
        assert list(zero.get_xdata()) == [0, 0]
        assert [dot.get_xdata()[0] for dot in dots] == [100 * row["difference"] for row in here]
        assert [dot.get_markerfacecolor() != "white" for dot in dots] == [row["significant"] for row in here]
        ends = [bar.get_segments()[0][:, 0].tolist() for bar in axes.collections]
        np.testing.assert_allclose(ends, [[100 * end for end in row["interval"]] for row in here])
    assert "95 % paired intervals" in figure._suptitle.get_text()
    assert forest(result, "oracle") is None


def test_a_single_n_has_no_plot_over_n():
    shown = figures(["dreamprm", "vanilla"])
    for key in ("accuracy_by_n", "intervals_by_n"):
        shown[key] = {
            name: {place: {"8": row["8"]} for place, row in rows.items()} for name, rows in shown[key].items()
        }
    assert accuracy.mean_over_n(shown, level=0.95) is None and accuracy.suites_over_n(shown) is None
