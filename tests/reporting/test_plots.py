"""What the plots show, and that no two labels overlap; their looks are judged by eye."""

import json
import math

import numpy as np
import pytest

from dreamprm.evaluation.plots.style import new_figure, png, selector_styles, spread
from dreamprm.reporting import read_run
from dreamprm.reporting.plots import PLOTS
from dreamprm.reporting.plots.training import moving_mean


def rewrite(folder, change):
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))
    return read_run(folder)


def texts(axes):
    """All annotations of axes but its detail line."""
    return [text for text in axes.texts if not text.get_text().startswith(("dashed", "mean of", "one s"))]


def test_spread_moves_least():
    assert spread([0.0, 5.0, 9.0], 1.0).tolist() == [0.0, 5.0, 9.0]
    # Three labels around 1 form a block centred on their mean; the far one stays.
    np.testing.assert_allclose(spread([1.0, 8.0, 1.0, 1.0], 2.0), [-1.0, 8.0, 1.0, 3.0])
    # A block that grows into the next takes it in: means 0.5 and 2.2 at gap 2 are 4 labels centred on 1.35.
    np.testing.assert_allclose(spread([0.0, 1.0, 2.0, 2.4], 2.0), [-1.65, 0.35, 2.35, 4.35])
    assert spread([], 1.0).tolist() == []


def test_spread_stays_within_bounds():
    np.testing.assert_allclose(spread([0.1, 0.0, 9.0], 1.0, low=0.0, high=9.5), [1.0, 0.0, 9.0])
    np.testing.assert_allclose(spread([9.0, 9.0, 9.0], 2.0, low=0.0, high=9.5), [5.5, 7.5, 9.5])
    # Three labels at gap 2 need 4 units; between 0 and 3 they stand out by half a unit on either side.
    np.testing.assert_allclose(spread([0.0, 0.0, 0.0], 2.0, low=0.0, high=3.0), [-0.5, 1.5, 3.5])


def test_moving_mean():
    gappy = np.array([1.0, 2.0, 6.0, np.nan, 3.0])
    np.testing.assert_allclose(moving_mean(gappy, 3), [1.5, 3.0, 4.0, 4.5, 3.0])
    np.testing.assert_array_equal(moving_mean(np.array([np.nan, 2.0]), 1), [np.nan, 2.0])
    np.testing.assert_allclose(moving_mean(np.arange(2.0), 9), [0.5, 0.5])


def test_selectors_differ_by_more_than_colour():
    looks = selector_styles(
        [
            "random",
            "majority",
            "base_likelihood",
            "base_head",
            "vanilla",
            "dreamprm",
            "oracle",
            "orm",
            "car",
            "s1",
        ]
    ).values()
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == 10


def test_weights_over_time_shows_the_history(run_folder):
    run = read_run(run_folder)
    figure = PLOTS["weights_over_time"](run)
    axes = figure.axes[0]
    lines = axes.lines[:15]
    for k, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_ydata(), run.weights.values[:, k])
    assert sorted(text.get_text().split()[0] for text in texts(axes)) == sorted(run.weights.names)
    assert len({line.get_color() for line in lines}) > 10  # planted quality


@pytest.mark.parametrize("name", ["weights_over_time", "accuracy_over_n"])
def test_end_labels_do_not_overlap_and_stay_inside(run_folder, name):
    figure = PLOTS[name](read_run(run_folder))
    figure.draw_without_rendering()
    labels = texts(figure.axes[0])
    # An annotation's extent holds its leader line too: compare the middles with the height of a line of text.
    height = figure.dpi * 8.5 / 72
    middles = [label.get_unitless_position()[1] * figure.axes[0].bbox.height for label in labels]
    assert len(middles) >= 7 and min(np.diff(sorted(middles))) >= height
    boxes = [label.get_window_extent() for label in labels]
    assert all(
        box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
        for box in boxes
    )


def test_final_weights_are_sorted(run_folder):
    run = read_run(run_folder)
    axes = PLOTS["final_weights"](run).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(run.summary["weights"].values(), reverse=True)
    assert [label.get_text() for label in axes.get_yticklabels()] == sorted(
        run.summary["weights"], key=lambda name: -run.summary["weights"][name]
    )


def test_accuracy_over_n_is_the_mean_of_the_suites(run_folder):
    run = read_run(run_folder)
    by_n = run.summary["accuracy_by_n"]["vanilla"]
    shifted = run.summary["shifted_suites"]
    expected = [100 * np.mean([by_n[suite][n] for suite in shifted]) for n in ("1", "2", "4", "8")]

    # The same whether the summary states the mean or it is worked out from the suites.
    def without_mean(summary):
        for row in summary["accuracy_by_n"].values():
            del row["mean"]

    for source in (run, rewrite(run_folder, without_mean)):
        axes = PLOTS["accuracy_over_n"](source).axes[0]
        line = axes.lines[list(run.summary["accuracy_by_n"]).index("vanilla")]
        assert line.get_xdata().tolist() == [1, 2, 4, 8]
        np.testing.assert_allclose(line.get_ydata(), expected)


def test_losses_panels(run_folder):
    run = read_run(run_folder)
    figure = PLOTS["losses"](run)
    assert len(figure.axes) == 3
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), run.metrics["meta_loss"])


def test_best_of_n_has_a_panel_a_suite(run_folder):
    run = read_run(run_folder)
    panels = [axes for axes in PLOTS["best_of_n"](run).axes if axes.get_visible()]
    assert [axes.get_title(loc="left").removesuffix(" (shifted)") for axes in panels] == list(
        run.summary["best_of_n"]["oracle"]
    )


def test_nothing_to_plot(run_folder):
    (run_folder / "summary.json").write_text("{}")
    (run_folder / "metrics.jsonl").write_text("")
    (run_folder / "domain_weights.jsonl").unlink()
    assert [draw(read_run(run_folder)) for draw in PLOTS.values()] == [None] * len(PLOTS)


def test_odd_runs_still_draw(run_folder):
    """One window, one domain, missing values: no warning (an error here), no exception."""
    (run_folder / "metrics.jsonl").write_text(
        '{"step": 5, "inner_loss": 0.5, "meta_loss": NaN, "audit_cosine": 1, "audit_norm_ratio": 1}\n'
    )
    (run_folder / "domain_weights.jsonl").write_text('{"step": 5, "weights": {"a": 1.0, "gone": null}}\n')

    def change(summary):
        summary.pop("quality")
        summary["weights"] = {"a": 1.0, "gone": math.nan}
        summary["shifted_suites"] = []
        summary["accuracy_by_n"] = {"vanilla": {"s": {"1": 0.5}}, "dreamprm": {"s": {"1": math.nan}}}
        summary["best_of_n"] = {"vanilla": {"s": 0.5}, "dreamprm": {"s": math.nan}}
        summary["intervals"] = {"vanilla": {"s": [0.4, 0.6]}}
        summary.pop("intervals_by_n")

    run = rewrite(run_folder, change)
    figures = {name: draw(run) for name, draw in PLOTS.items()}
    absent = [name for name, figure in figures.items() if figure is None]
    assert absent == ["weights_against_difficulty", "accuracy_over_n"]  # of a single N
    assert all(png(figure).startswith(b"\x89PNG") for figure in figures.values() if figure is not None)


def test_many_domains_name_the_ends_only(run_folder):
    weights = {f"domain_{k:02}": 0.1 + 0.05 * k for k in range(40)}
    (run_folder / "domain_weights.jsonl").write_text(json.dumps({"step": 5, "weights": weights}) + "\n")
    figure = PLOTS["weights_over_time"](read_run(run_folder))
    named = [text.get_text().split()[0] for text in texts(figure.axes[0])]
    assert sorted(named) == [f"domain_{k:02}" for k in [*range(12), *range(28, 40)]]


def test_the_title_over_a_single_suite_is_not_cut_off(run_folder):
    run = rewrite(
        run_folder,
        lambda summary: summary.update(best_of_n={"vanilla": {"s": 0.5}}, intervals={}, shifted_suites=[]),
    )
    figure = PLOTS["best_of_n"](run)
    figure.draw_without_rendering()
    extent = figure._suptitle.get_window_extent()
    assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1


def test_names_with_dollar_signs_are_no_mathematics():
    def drawn(name, **settings):
        figure = new_figure(2, 1)
        figure.suptitle(name, **settings)
        return png(figure)

    assert drawn("$x_1$") == drawn("$x_1$", parse_math=False)
    assert drawn("$\\frac{$") == drawn("$\\frac{$", parse_math=False)  # as mathematics it does not parse
