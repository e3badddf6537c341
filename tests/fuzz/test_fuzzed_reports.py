"""Reports of damaged folders: a page, or an error that names the file; never a traceback, never "nan"."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import fuzz, outcome
from mutations import by_seed, changed_file, damage
from small_folders import FOLDERS

from dreamprm.evaluation.plots import style
from dreamprm.reporting import final_table, render_report
from dreamprm.reporting.contents import Report, read_report
from dreamprm.reporting.sections import selectors, steps, weights

Files = Mapping[str, bytes]

_NO_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:nan|inf)(?!\w)")


def _spoilt(kind: str) -> Callable[[Random], Files]:
    """One or two of a folder's files changed."""

    def spoil(chance: Random) -> Files:
        files = dict(FOLDERS[kind])
        for name in chance.sample(sorted(files), k=chance.randint(1, 2)):
            if name.endswith(".yaml"):
                files[name] = damage(chance, files[name])
            else:
                files[name] = changed_file(chance, files[name], Path(name).suffix)
        return files

    return spoil


def _with(kind: str, name: str, change: Callable[[Any], Any]) -> Files:
    """A folder whose file holds another value."""
    held = json.loads(FOLDERS[kind][name])
    return {**FOLDERS[kind], name: json.dumps(change(held)).encode()}


KNOWN: Mapping[str, list[Files]] = {
    "run": [
        _with("run", "summary.json", lambda held: held | {"weights": ["charts"]}),
        _with("run", "summary.json", lambda held: held | {"best_of_n": {"vanilla": 0.5}}),
        _with("run", "summary.json", lambda held: held | {"audit": {"exact": "adjoint"}}),
        _with("run", "summary.json", lambda held: held | {"accuracy_by_n": {"vanilla": {"a": {"n": 1}}}}),
        {**FOLDERS["run"], "metrics.jsonl": b'{"step": null, "inner_loss": 1.0}\n'},
        {**FOLDERS["run"], "config.yaml": b"a: &x [*x]"},
    ],
    "evaluation": [
        _with("evaluation", "evaluation.json", lambda held: held | {"suites": []}),
        _with("evaluation", "evaluation.json", lambda held: held | {"level": "high"}),
        _with("evaluation", "evaluation.json", lambda held: held | {"generators": {"c": None}}),
        _with("evaluation", "examples.jsonl", lambda held: held | {"candidates": 1}),
        {**FOLDERS["evaluation"], "examples.jsonl": b"\xff\xfe{\n"},
    ],
    "steps": [
        _with("steps", "steps.json", lambda held: held | {"calibration": {"dreamprm": {"all": []}}}),
        _with("steps", "steps.json", lambda held: held | {"auc": {"dreamprm": {"all": {"pooled": 1}}}}),
    ],
}


def _write(folder: Path, files: Files) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sections without plots, which take most of the time of a page."""
    monkeypatch.setattr(Report, "plots", lambda self, run: {})
    for module, names in (
        (selectors.accuracy, ("mean_over_n", "suites_over_n")),
        (selectors, ("forest",)),
        (steps, ("reliability_plot", "threshold_plot")),
        (weights, ("final_weights_of_runs", "weights_over_time_of_runs", "difficulty_of_runs")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *arguments, **settings: None)
    yield


def _check(folder: Path, whole: Path, files: Files) -> None:
    """A page of the folder alone, and one of it next to one that is whole."""
    _write(folder, files)
    for folders in ([folder], [whole, folder]):
        page = outcome(lambda folders=folders: render_report(read_report(folders)))
        if isinstance(page, str):
            assert not _NO_NUMBER.search(re.sub(r"<style>.*?</style>|<pre.*?</pre>", "", page, flags=re.S))
    report = outcome(lambda: read_report([folder]))
    if isinstance(report, Report) and report.runs:
        final_table(report.runs[0].summary)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_damaged_folder(kind: str, tmp_path: Path, no_plots: None) -> None:
    whole = _write(tmp_path / "whole", FOLDERS[kind])
    assert isinstance(render_report(read_report([whole])), str)
    fuzz(
        lambda files: _check(tmp_path / "one", whole, files),
        few=6,
        known=[{"files": files} for files in KNOWN[kind]],
        files=by_seed(_spoilt(kind)),
    )


@pytest.mark.parametrize("kind", FOLDERS)
def test_plots_of_a_damaged_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 30)

    def check(files: Files) -> None:
        outcome(lambda: render_report(read_report([_write(tmp_path / "one", files)])))

    fuzz(check, few=1, most=200, files=by_seed(_spoilt(kind)))
