"""The audit in a report: what is drawn, and what the sentence says of good, fair and bad estimators."""

import html
import json

import numpy as np
import pytest

from dreamprm.reporting import read_run, write_report
from dreamprm.reporting.plots.training import audit, audit_sentence


def audited(folder, cosines):
    """The run with an audit every fifth window; a cosine of None is undefined."""
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, cosine in zip(rows[4::5], cosines):
        row |= {"audit_cosine": cosine, "audit_norm_ratio": None if cosine is None else 0.5}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_run(folder)


def entry(median, **changes):
    return {
        "estimator": "first_order",
        "audit": {
            "exact": ["adjoint"],
            "windows": 7,
            "undefined": 0,
            "cosine": {"median": median, "least": 0.5},
            "norm_ratio": {"median": 1.5, "least": 0.25, "most": 2.0},
        }
        | changes,
    }


def test_the_plot_shows_the_audited_windows_only(run_folder):
    assert audit(read_run(run_folder)) is None
    run = audited(run_folder, [0.5, None, 1.0])
    above, below = audit(run).axes
    for axes, values in ((above, [0.5, 1.0]), (below, [0.5, 0.5])):
        points = axes.lines[1]
        np.testing.assert_array_equal(points.get_xdata(), [25, 75])
        np.testing.assert_array_equal(points.get_ydata(), values)
    assert audit(audited(run_folder, [None, None, None])) is None


@pytest.mark.parametrize(
    ("median", "shown", "verdict"),
    [
        (0.99999, "0.999", "went where the exact gradient would have sent them."),
        (0.9, "0.900", "went roughly where"),
        (-0.2, "-0.200", "did not go where"),
    ],
)
def test_the_sentence_judges_the_median_cosine(median, shown, verdict):
    sentence = audit_sentence(entry(median))
    assert sentence.startswith("7 windows of first_order were compared with the exact gradient (adjoint). ")
    assert f"Median cosine {shown} (least 0.500)" in sentence and verdict in sentence
    assert "norm ratio 1.50" in sentence and ("adjoint) or a lower" in sentence) == (median < 0.87)


def test_the_sentence_tells_undefined_cosines():
    assert "; the cosine of 2 is undefined" in audit_sentence(entry(0.5, undefined=2))
    nothing = entry(0.5, undefined=7)
    del nothing["audit"]["cosine"]
    assert audit_sentence(nothing).endswith("the cosine of 7 is undefined (a gradient of 0, or a failure).")
    assert audit_sentence({}) == ""


def test_the_page_holds_the_sentence_and_the_plot(run_folder):
    audited(run_folder, [0.9, 0.8])
    summary = json.loads((run_folder / "summary.json").read_text())
    (run_folder / "summary.json").write_text(json.dumps(summary | entry(0.85)))
    page = html.unescape(write_report(run_folder).read_text())
    assert "<h3>Audit of the upper gradient</h3>" in page and "Median cosine 0.85" in page
    assert "The estimator's upper gradient against the exact one" in page
    assert (run_folder / "plots" / "audit.png").exists()
