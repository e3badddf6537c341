"""Reading a run folder: what is there, what is missing, what is damaged."""

import json
import math
from typing import Any

import numpy as np
import pytest
from small_folders import FOLDERS

from dreamprm.config.errors import DataError, UserError
from dreamprm.files.append_only import checked_text
from dreamprm.reporting import read_run
from dreamprm.reporting.contents import read_folder


def test_reads_all_files(run_folder):
    run = read_run(run_folder)
    assert run.name == "sandbox" and run.summary["steps"] == 1800
    assert run.metrics["step"].tolist() == [5.0 * k for k in range(1, 361)]
    assert set(run.statuses) == {"ok"}
    assert run.weights is not None and run.weights.values.shape == (360, 15)
    last = json.loads((run_folder / "domain_weights.jsonl").read_text().splitlines()[-1])
    assert dict(zip(run.weights.names, run.weights.values[-1])) == last["weights"]
    assert run.config is not None and run.config.startswith("name: sandbox")


def test_what_a_line_lacks_is_nan(run_folder):
    (run_folder / "metrics.jsonl").write_text(
        '{"step": 5, "inner_loss": 0.5, "status": "ok"}\n\n'
        '{"step": 10, "inner_loss": NaN, "meta_loss": 0.25}\n'
        '{"step": 15, "inner_loss": null, "meta_loss": "high"}\n'
    )
    (run_folder / "domain_weights.jsonl").write_text(
        '{"step": 5, "weights": {"a": 1.0}}\n{"step": 10, "weights": {"a": 0.5, "b": 1.5}}\n'
    )
    run = read_run(run_folder)
    np.testing.assert_array_equal(run.metrics["inner_loss"], [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(run.metrics["meta_loss"], [np.nan, 0.25, np.nan])
    assert run.statuses == ("ok", "", "")
    assert run.weights is not None and run.weights.names == ("a", "b")
    assert math.isnan(run.weights.values[0, 1])


def test_optional_files_may_be_absent(run_folder):
    (run_folder / "config.yaml").unlink()
    (run_folder / "domain_weights.jsonl").write_text("")
    run = read_run(run_folder)
    assert run.config is None and run.weights is None
    (run_folder / "domain_weights.jsonl").unlink()
    assert read_run(run_folder).weights is None


def test_an_unnamed_run_is_named_after_its_folder(run_folder):
    (run_folder / "summary.json").write_text("{}")
    assert read_run(run_folder).name == run_folder.name


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl"])
def test_missing_file(run_folder, name):
    (run_folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}: it is not a run folder, or its training has not"):
        read_run(run_folder)


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="no run folder at .*nowhere; give a folder that `dreamprm train`"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("metrics.jsonl", '{"step": 5}\n{"step": \n', r"metrics.jsonl:2: not JSON .*create it again"),
        ("metrics.jsonl", "[5]\n", r"metrics.jsonl:1: must be a JSON object, got list"),
        ("summary.json", '{\n"name": oops}', r"summary.json:2: not JSON"),
        ("domain_weights.jsonl", '{"step": 5, "weights": [1]}\n', r"object 1: weights must be .* got \[1\]"),
    ],
)
def test_damaged_file(run_folder, name, content, message):
    (run_folder / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_run(run_folder)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "config.yaml"])
def test_a_file_that_is_no_text(run_folder, name):
    (run_folder / name).write_bytes(b"{}\n" + "name".encode("utf-16"))
    with pytest.raises(DataError, match=f"{name}: not UTF-8 at byte 3; the file is damaged or was saved"):
        read_run(run_folder)


SPOILT: dict[str, dict[str, dict[str, tuple[Any, str]]]] = {
    "run": {
        "summary.json": {
            "weights": (
                [1.0],
                r"field weights: got \[1.0\]; allowed: an object; .* run `dreamprm train` again",
            ),
            "best_of_n": (
                {"dreamprm": {"a": 1.5}},
                r"field best_of_n.dreamprm.a: got 1.5; .* a number in \[0",
            ),
            "seed": ("0", "field seed: got '0'; allowed: a whole number >= 0"),
            "targets": ({"x": {"target": 1}}, "field targets.x.measured is missing"),
            "accuracy_by_n": ({"x": {"a": {"four": 1}}}, "got 'four'; allowed: a number of candidates"),
            "audit": ({"exact": ["adjoint"], "windows": True}, "field audit.undefined is missing"),
        },
        "metrics.jsonl": {
            "step": (None, "metrics.jsonl:1: field step: got None; allowed: a number >= 0"),
            "status": (5, "metrics.jsonl:1: field status: got 5; allowed: a text"),
        },
        "domain_weights.jsonl": {
            "step": ("5", "domain_weights.jsonl:1: field step: got '5'"),
            "weights": ({"charts": "high"}, "field weights.charts: got 'high'; allowed: a number, or null"),
        },
    },
    "evaluation": {
        "evaluation.json": {
            "suites": ({}, "field suites: got {}; allowed: an object of at least 1"),
            "level": (float("nan"), "field level: got nan"),
            "resamples": (10.5, "field resamples: got 10.5; allowed: a whole number >= 1"),
            "mean_over": (["c"], "field mean_over: got 'c'; allowed: a suite: a, b"),
            "notes": ("a", "field notes: got 'a'; allowed: a list"),
            "generators": ({"a": {"accuracy": {}, "best": {"name": "m", "chosen_on": "test"}}}, "got 'm'"),
            "checkpoints": ({"x": {"picked": "y", "development": {}}}, "an object of at least 1"),
            "aggregations": (
                {"x": {"aggregation": "mean", "chosen": "maybe"}},
                "got 'maybe'; allowed: fixed",
            ),
        },
        "examples.jsonl": {"suite": ("b", "are not among the questions that evaluation.json counts")},
    },
    "steps": {
        "steps.json": {
            "calibration": ({"x": {"all": {}}}, "field calibration.x.up_to_first_error is missing"),
            "thresholds": ({"x": {"probability": 2, "log_odds": 1}}, "field thresholds.x.probability: got 2"),
            "auc": ({"x": {"all": {"pooled": {"other": None}}}}, "field auc.x.all.pooled: got 'other'"),
            "left_out": (None, "field left_out: got None; allowed: an object"),
        },
    },
}


@pytest.mark.parametrize(
    ("kind", "name", "field"),
    [(kind, name, field) for kind, files in SPOILT.items() for name in files for field in files[name]],
)
def test_a_value_that_cannot_be_is_refused_by_file_and_field(kind, name, field, tmp_path):
    for file, content in FOLDERS[kind].items():
        (tmp_path / file).write_bytes(content)
    value, message = SPOILT[kind][name][field]
    first, *rest = FOLDERS[kind][name].decode().splitlines(keepends=True)
    (tmp_path / name).write_text(json.dumps(json.loads(first) | {field: value}) + "\n" + "".join(rest))
    with pytest.raises(DataError, match=message) as caught:
        read_folder(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_result_that_has_changed_since_it_was_written_is_refused(kind, tmp_path):
    for file, content in FOLDERS[kind].items():
        (tmp_path / file).write_bytes(content)
    name = next(iter(FOLDERS[kind]))
    text = checked_text(FOLDERS[kind][name].decode())
    (tmp_path / name).write_text(text)
    read_folder(tmp_path)
    (tmp_path / name).write_text(text.replace("0.75", "0.7", 1))
    with pytest.raises(DataError, match=f"{name}: its checksum is not that of its text"):
        read_folder(tmp_path)
    (tmp_path / name).write_text(text.replace("0.75", "0.7", 1).rstrip())  # written anew by another program
    read_folder(tmp_path)
