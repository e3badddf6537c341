"""Reading a run folder: what is there, what is missing, what is damaged."""

import json
import math

import numpy as np
import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.reporting import read_run


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
