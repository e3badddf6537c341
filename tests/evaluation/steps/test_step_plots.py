"""What the step evaluation's plots show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dreamprm.evaluation.plots.steps import reliability_plot, threshold_plot


def held(*bins: tuple[int, float, float]) -> dict[str, Any]:
    """The calibration of one subset, alike in both binnings, with bins of (steps, probability, label)."""
    rows = [{"steps": n, "probability": p, "label": y, "low": y - 0.1, "high": y + 0.1} for n, p, y in bins]
    curve = {"ece": {"value": 0.125, "low": 0.1, "high": 0.2}, "bins": rows}
    return {"steps": sum(n for n, _, _ in bins), "equal_width": curve, "equal_mass": curve}


def test_reliability_draws_a_row_a_scorer_and_a_panel_a_subset() -> None:
    calibration = {
        "prm": {"all": {"a": held((30, 0.2, 0.4), (10, 0.8, 0.9)), "b": held((5, 0.5, 0.5))}},
        "other": {"all": {"b": held((5, 0.25, 0.75))}},
    }
    figure = reliability_plot(calibration, scope="all", level=0.9)
    assert figure is not None
    panels = figure.axes
    assert [axes.get_visible() for axes in panels] == [True, True, False, True]
    assert [panels[0].get_title(loc="left"), panels[1].get_title(loc="left")] == ["a", "b"]
    diagonal, curve = panels[0].lines
    np.testing.assert_array_equal(diagonal.get_xdata(), [0, 1])
    np.testing.assert_array_equal(curve.get_xdata(), [0.2, 0.8])
    np.testing.assert_array_equal(curve.get_ydata(), [0.4, 0.9])
    shares = [column.get_height() for column in panels[0].patches]  # type: ignore[attr-defined]
    assert shares == [0.75, 0.25]
    assert panels[0].texts[0].get_text() == "ECE 0.125"
    assert panels[2].get_ylabel() == "other\nmean label"
    assert "90 % intervals" in figure.get_supxlabel()


def test_nothing_is_drawn_without_steps_or_curves() -> None:
    assert reliability_plot({"prm": {"all": {}}}, scope="all", level=0.9) is None
    assert threshold_plot({}) is None


def test_the_threshold_curve_marks_the_chosen_one() -> None:
    log_odds = np.array([-np.log(3), 0.0, np.log(3)])
    figure = threshold_plot({"prm": (log_odds, np.array([0.0, 0.5, 0.25]), 0.0)})
    assert figure is not None
    curve, mark = figure.axes[0].lines
    np.testing.assert_allclose(curve.get_xdata(), [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.get_ydata(), [0, 50, 25, 25])
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == pytest.approx((0.5, 50))
    assert "prm: 50.0 at 0.5" in [text.get_text() for text in figure.axes[0].texts]
