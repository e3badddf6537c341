"""The step-level sections: every figure of steps.json at its place, and what it rests on."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamprm.config.errors import DataError, UserError
from dreamprm.evaluation.number_text import percent
from dreamprm.evaluation.steps.wording import cautions
from dreamprm.reporting.contents import Report
from dreamprm.reporting.folders.steps import DevelopmentCurve, StepsFolder, read_steps
from dreamprm.reporting.sections import SECTIONS, steps
from dreamprm.reporting.sections.steps import (
    Cell,
    auc_table,
    calibration_table,
    difference_table,
    estimate_cell,
    first_error_table,
    record_rows,
    signed,
    threshold_rows,
)


def estimate(value: float, *, half: float = 0.05, **more: int) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half} | more


def calibrated(seed: float) -> dict[str, Any]:
    bins = [
        {"steps": 30, "probability": 0.25, "label": 0.25 + seed, "low": 0.2, "high": 0.5},
        {"steps": 10, "probability": 0.75, "label": 0.75, "low": 0.6, "high": 0.9},
    ]
    curve = {"ece": estimate(seed), "bins": bins, "ece_if_calibrated": {"mean": 0.031, "high": 0.052}}
    return {
        "steps": 40,
        "mean_label": 0.375 + seed,
        "mean_probability": 0.375,
        "brier": estimate(0.2 + seed),
        "base_rate_brier": 0.15,
        "equal_mass": curve,
        "equal_width": curve | {"ece_if_calibrated": None},
    }


def result_of(**changes: Any) -> dict[str, Any]:
    """steps.json of two scorers on two subsets, the second of which the thresholds were chosen on."""
    counts = {
        "labels": "hard",
        "records": 50,
        "development_records": 0,
        "test_records": 50,
        "test_questions": 49,
        "erroneous": 21,
        "correct": 27,
        "first_error_unknown": 2,
        "labelled_steps": 190,
        "unlabelled_steps": 3,
    }
    figures = {
        name: {
            "dreamprm": {"math": estimate(0.61 + shift), "gsm8k": estimate(0.71 + shift)},
            "vanilla": {"math": estimate(0.41 + shift), "gsm8k": None},
            "blind": {"math": estimate(0.33), "gsm8k": estimate(0.32, undefined_resamples=4)},
        }
        for name, shift in (("f1", 0.0), ("error_accuracy", 0.1), ("correct_accuracy", 0.2))
    }
    kinds = {
        "pooled": {"math": estimate(0.812), "gsm8k": estimate(0.9)},
        "per_record": {"math": estimate(0.701), "gsm8k": None},
    }
    found = {"f1": 0.72, "error_accuracy": 0.65, "correct_accuracy": 0.81, "thresholds_tried": 3}
    return {
        "settings": {
            "seed": 7,
            "resamples": 300,
            "level": 0.9,
            "label_threshold": None,
            "scope": "up_to_first_error",
            "threshold_chosen_on": "subset",
            "development_subset": "gsm8k",
        },
        "scorers": ["dreamprm", "vanilla"],
        "subsets": {"math": counts, "gsm8k": counts},
        "development": {
            "records": 50,
            "questions": 49,
            "erroneous": 21,
            "correct": 27,
            "first_error_unknown": 2,
        },
        "thresholds": {
            "dreamprm": {"probability": 0.6, "log_odds": 0.4054651081081642, "development": found},
            "vanilla": {"probability": 0.5, "log_odds": 0.0, "development": found | {"f1": 0.0}},
        },
        "first_error": figures,
        "auc": {
            name: {"up_to_first_error": kinds, "all": {"pooled": {"math": None, "gsm8k": None}}}
            for name in ("dreamprm", "vanilla")
        },
        "calibration": {
            name: {"up_to_first_error": {"math": calibrated(seed), "gsm8k": calibrated(seed / 2)}, "all": {}}
            for name, seed in (("dreamprm", 0.04), ("vanilla", 0.08))
        },
        "differences": {
            "baseline": "vanilla",
            "f1": {"dreamprm": {"math": estimate(0.2), "gsm8k": None}},
            "auc_pooled": {"dreamprm": {"math": estimate(-0.012)}},
        },
        "left_out": {
            "math": {"whole_response_scorers": ["orm"], "bad_records": 1, "reasons": ["m.jsonl:3: <b>"]}
        },
    } | changes


def section_of(result: dict[str, Any], curves: dict[str, DevelopmentCurve] | None = None) -> str:
    (section,) = steps.sections(Report(steps=(StepsFolder(Path("runs/steps"), result, curves or {}),)))
    assert (section.anchor, section.title) == ("steps-1", "Step-level evaluation")
    return str(section.body)


class Text(HTMLParser):
    """The text of a page, its white space made single."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self.parts).split())


def text_of(page: str) -> str:
    return str(Text(page))


def images_of(page: str) -> list[Image.Image]:
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in data]


def test_first_errors_are_grouped_by_figure_with_their_intervals() -> None:
    table = first_error_table(result_of())
    assert [name for name, _ in table.head] == ["math", "gsm8k (development)"]
    assert [group.title.split(" (%)")[0] for group in table.groups] == [
        "F1",
        "Accuracy on erroneous records",
        "Accuracy on correct records",
    ]
    first, _, last = table.groups
    assert [row.name for row in first.rows] == ["dreamprm", "vanilla", "blind"]
    assert first.rows[0].cells == (Cell("61.0", ("[56.0, 66.0]",)), Cell("71.0", ("[66.0, 76.0]",)))
    assert first.rows[1].cells == (Cell("41.0", ("[36.0, 46.0]",)), Cell("n/a"))
    assert first.rows[2].note.startswith("-1 or the commonest first error") and first.rows[0].note == ""
    assert first.rows[2].cells[1] == Cell("32.0", ("[27.0, 37.0]",), resampled=True)
    assert last.rows[0].cells[0].main == "81.0"
    assert first.note == ""  # one subset counts, so that no mean stands there


def test_a_mean_names_the_subsets_it_is_over() -> None:
    """Of three subsets one lacks the figure and one is the development subset."""
    counts = result_of()["subsets"]["math"]
    row = {
        "math": estimate(0.5),
        "gsm8k": estimate(0.9),
        "none": None,
        "omni": estimate(0.7),
        "mean": estimate(0.6),
    }
    figures = {name: {"dreamprm": row} for name in ("f1", "error_accuracy", "correct_accuracy")}
    subsets = dict.fromkeys(("math", "gsm8k", "none", "omni"), counts)
    result = result_of(first_error=figures, subsets=subsets)
    table = first_error_table(result)
    assert [name for name, _ in table.head] == ["math", "gsm8k (development)", "none", "omni", "mean"]
    assert table.groups[0].note == "mean of math, omni"
    assert table.groups[0].rows[0].cells[-1].main == "60.0"


@pytest.mark.parametrize(
    ("held", "cell"),
    [
        (None, Cell("n/a")),
        (
            {"value": 0.25, "low": None, "high": None, "undefined_resamples": 9},
            Cell("25.0", ("[n/a]",), resampled=True),
        ),
        ({"value": 0.25, "low": 0.1, "high": 0.5}, Cell("25.0", ("[10.0, 50.0]",))),
        (
            {"value": 0.25, "low": 0.1, "high": 0.5, "undefined_resamples": 1},
            Cell("25.0", ("[10.0, 50.0]",), resampled=True),
        ),
    ],
)
def test_what_is_undefined_says_so(held: dict[str, Any] | None, cell: Cell) -> None:
    assert estimate_cell(held, percent) == cell


def test_aucs_without_pairs_are_not_shown() -> None:
    table = auc_table(result_of())
    assert [group.title for group in table.groups] == [
        "Pooled, steps counted: up to first error",
        "Per record, steps counted: up to first error",
    ]
    assert table.groups[0].rows[1].cells == (
        Cell("0.812", ("[0.762, 0.862]",)),
        Cell("0.900", ("[0.850, 0.950]",)),
    )
    assert auc_table(result_of(auc={})).groups == ()


def test_calibration_stands_beside_chance_and_the_base_rate() -> None:
    table = calibration_table(result_of())
    assert [group.title for group in table.groups] == ["math", "gsm8k (development)"]
    row = table.groups[0].rows[1]
    assert row.name == "vanilla"
    assert dict(zip([name for name, _ in table.head][3:5], row.cells[3:5])) == {
        "ECE, equal mass": Cell("0.080", ("[0.030, 0.130]",)),
        "by chance": Cell("0.031", ("up to 0.052",)),
    }
    assert row.cells[6] == Cell("n/a")  # rollouts unknown: chance is not known either
    assert [cell.main for cell in row.cells[:3]] == ["40", "0.455", "0.375"]
    assert [cell.main for cell in row.cells[-2:]] == ["0.280", "0.150"]
    assert all(len(row.cells) == len(table.head) for group in table.groups for row in group.rows)


def test_differences_are_signed_and_in_their_own_unit() -> None:
    table = difference_table(result_of())
    assert [group.title for group in table.groups] == [
        "F1 (points)",
        "Step AUC, pooled, steps counted: up to first error",
    ]
    assert table.groups[0].rows[0].cells == (Cell("+20.0", ("[+15.0, +25.0]",)), Cell("n/a"))
    assert table.groups[1].rows[0].cells == (Cell("-0.012", ("[-0.062, +0.038]",)), Cell("n/a"))
    without = result_of()
    del without["differences"]
    assert difference_table(without).groups == () and "Differences" not in section_of(without)
    assert (signed(0.0), signed(None)) == ("+0.000", "n/a")


def test_thresholds_and_records_are_told() -> None:
    assert threshold_rows(result_of()) == [
        ["dreamprm", "0.6", "0.4055", 3, "72.0", "65.0", "81.0"],
        ["vanilla", "0.5", "0", 3, "0.0", "65.0", "81.0"],
    ]
    given = {"dreamprm": {"probability": 0.5, "log_odds": 0.0}}
    assert threshold_rows(result_of(thresholds=given)) == [
        ["dreamprm", "0.5", "0", "given", "n/a", "n/a", "n/a"]
    ]
    head, rows = record_rows(result_of())
    assert head == ["counts", "math", "gsm8k (development)"]
    assert {title: of_gsm8k for title, _, of_gsm8k in rows} == {
        "labels": "hard",
        "records": 50,
        "for the threshold": 0,
        "counted": 50,
        "their questions": 49,
        "erroneous": 21,
        "correct": 27,
        "first error unknown": 2,
        "labelled steps": 190,
        "steps without label": 3,
    }


def test_the_section_says_level_choice_and_what_was_left_out() -> None:
    page = section_of(result_of())
    text = text_of(page)
    assert "90 % intervals, percentile bootstrap over questions (300 samples, seed 7)" in text
    assert "95 %" not in text
    assert (
        "the highest F1 on gsm8k, whose own figures are therefore too good and not included in the mean (21"
        " erroneous and 27 correct records)."
    ) in text
    assert "No threshold gives vanilla a development F1 above 0" in text
    assert "61.0 [56.0, 66.0]" in text and "the value that 90 % of the draws do not exceed" in text
    assert "† In some of the 300 bootstrap samples" in text
    assert "math: 1 bad records; the first: m.jsonl:3: <b>" in text and "&lt;b&gt;" in page
    assert "orm: one value per response" in text
    assert "blind : -1 or the commonest first error" in text and "majority" not in text


def test_the_plots_are_in_the_page(folder: Path) -> None:
    held = read_steps(folder)
    curves, reliability = images_of(section_of(dict(held.result), dict(held.curves)))
    assert curves.width == 1040 and reliability.width == 832
    assert len(images_of(section_of(dict(held.result)))) == 1  # no curves, no plot of them


def test_given_thresholds_and_soft_labels_show_what_there_is() -> None:
    settings = result_of()["settings"] | {
        "threshold_chosen_on": "nothing",
        "development_subset": None,
        "label_threshold": 0.25,
    }
    given = {"dreamprm": {"probability": 0.5, "log_odds": 0.0}}
    text = text_of(section_of(result_of(settings=settings, thresholds=given, development=None)))
    assert "The threshold was given; there is no development set." in text
    assert "A step is right if its label is above 0.25." in text
    bare = result_of(first_error={"f1": {}}, thresholds={}, auc={}, left_out={}, differences=None)
    text = text_of(section_of(bare))
    assert "Not measured: no record's first error is known" in text and "Step AUC" not in text
    assert "Left out" not in text
    older = result_of()
    del older["development"]
    assert "own figures are therefore too good and not included in the mean." in text_of(section_of(older))


def test_few_records_and_intervals_of_one_point_are_told() -> None:
    result = result_of()
    result["subsets"] = {
        "math": result["subsets"]["math"] | {"erroneous": 49, "correct": 50},
        "gsm8k": result["subsets"]["gsm8k"] | {"erroneous": 50, "correct": 0},
    }
    assert cautions(result) == [
        "math has 49 erroneous records; bootstrap intervals over so few are too narrow."
    ]
    rows = {name: {"math": estimate(value, half=0.0)} for name, value in (("dreamprm", 1.0), ("blind", 0.0))}
    figures = dict.fromkeys(("f1", "error_accuracy", "correct_accuracy"), rows)
    text = text_of(section_of(result_of(first_error=figures)))
    assert "math has 21 erroneous and 27 correct records" in text
    assert "Some accuracies of dreamprm have an interval of a single point" in text
    assert cautions(result_of(first_error={"f1": {}})) == []


def test_several_folders_have_sections_and_names_of_their_own(tmp_path: Path) -> None:
    first, second = (StepsFolder(tmp_path / name, result_of(), {}) for name in ("a", "b"))
    made = list(steps.sections(Report(steps=(first, second))))
    assert [(one.anchor, one.title) for one in made] == [
        ("steps-1", "Step-level evaluation: a"),
        ("steps-2", "Step-level evaluation: b"),
    ]
    assert list(steps.sections(Report())) == []
    assert steps.sections in SECTIONS


CURVES = """scorer,threshold_log_odds,threshold_probability,f1,error_accuracy,correct_accuracy
dreamprm,-1,0.27,0.5,0.4,0.7
dreamprm,0.4054651081081642,0.6,0.72,0.65,0.81
dreamprm,2,0.88,0,1,0
vanilla,-1,0.27,0,0,1
vanilla,0,0.5,0,0,1
vanilla,1,0.73,0,0,1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "steps.json").write_text(json.dumps(result_of()))
    (tmp_path / "development_curves.csv").write_text(CURVES)
    return tmp_path


def test_a_folder_is_read_with_its_curves(folder: Path) -> None:
    held = read_steps(folder)
    assert held.name == folder.name and held.result["settings"]["level"] == 0.9
    assert list(held.curves) == ["dreamprm", "vanilla"]
    np.testing.assert_array_equal(held.curves["dreamprm"].log_odds, [-1, 0.4054651081081642, 2])
    np.testing.assert_array_equal(held.curves["dreamprm"].f1, [0.5, 0.72, 0])
    (folder / "development_curves.csv").unlink()
    assert read_steps(folder).curves == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("threshold_log_odds", "threshold"),
            "curves.csv:1: column threshold_log_odds is missing",
        ),
        (
            lambda text: text.replace("0,0.5,0,0,1", "zero,0.5,0,0,1"),
            "curves.csv:6: threshold_log_odds must be a finite number, got 'zero'",
        ),
        (
            lambda text: text.replace("2,0.88,0,1,0", "2,0.88,nan,1,0"),
            "curves.csv:4: f1 must be a finite number",
        ),
        (
            lambda text: text.replace("2,0.88,0,1,0", "2,0.88,,1,0"),
            "curves.csv:4: f1 must be a finite number, got None",
        ),
        (
            lambda text: text.replace("2,0.88,0,1,0", "2"),
            "curves.csv:4: got 2 cells for 6 columns",
        ),
        (
            lambda text: text.replace("vanilla", "orm", 1),
            "curves.csv:5: scorer must be one that steps.json has a"
            r" threshold for \(dreamprm, vanilla\), got 'orm'",
        ),
        (
            lambda text: text.replace("dreamprm,2", "dreamprm,-2"),
            "curves.csv:4: threshold_log_odds must rise within a scorer, got -2 after 0.405",
        ),
        (
            lambda text: text.replace("dreamprm,2,0.88,0,1,0\n", ""),
            "holds 2 thresholds for dreamprm, but steps.json says that 3 were tried",
        ),
    ],
)
def test_curves_that_do_not_fit_are_refused(
    change: Callable[[str], str],
    message: str,
    folder: Path,
) -> None:
    path = folder / "development_curves.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        read_steps(folder)


def test_results_that_lack_something_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="has no steps.json"):
        read_steps(folder / "elsewhere")
    whole = result_of()
    for spoilt, message in (
        ({key: value for key, value in whole.items() if key != "auc"}, "field auc is missing"),
        (whole | {"settings": {"seed": 0}}, "field settings.resamples is missing"),
        (whole | {"settings": None}, "field settings.seed is missing"),
    ):
        (folder / "steps.json").write_text(json.dumps(spoilt))
        with pytest.raises(DataError, match=f"steps.json: {message}; .* run `dreamprm evaluate-steps` again"):
            read_steps(folder)
