"""The benchmark's command line, tables and plots."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import UserError
from experiments.benchmarks import plots, report, windows, worker
from experiments.benchmarks.cases import CASES, PLAIN, VANILLA
from experiments.benchmarks.workload import Setting


def point(steps: int, *, size: str = "5M", kind: str = "single") -> dict[str, Any]:
    rows: dict[str, Any] = {
        case: {
            "seconds": [2.0 * (k + 1), 3.0 * (k + 1)],
            "extra_mib": 10.0 * (k + 1),
            "agreement": {lr: {"cosine": 1 - 10.0**-k, "relative_error": 0.5} for lr in ("5e-07", "0.0001")},
        }
        for k, case in enumerate(CASES)
    }
    del rows[PLAIN]["agreement"]
    rows["Betty cg"] = {"error": "not installed: No module named 'betty'"}
    conditions = {
        "date": "2026-01-01",
        "machine": "a machine",
        "threads": 1,
        "python": "3.11",
        "versions": {"torch": "2"},
        "repetitions": 2,
        "command": "windows",
    }
    return {
        "size": size,
        "steps": steps,
        "kind": kind,
        "parameters": 5_000_000,
        "rows": rows,
        "conditions": conditions,
    }


def test_presets_and_keys_make_a_plan() -> None:
    assert windows.read_plan([]).sizes == ["5M"]
    full = windows.read_plan(["full", "kinds=[mixed]", "cases=[unrolled]"])
    assert (full.sizes, full.steps, full.kinds) == (["1M", "5M", "20M"], [1, 2, 5, 10, 20], ["mixed"])
    assert full.cases == [PLAIN, VANILLA, "unrolled"]  # what all ratios are to
    assert [windows.key(setting) for setting in windows.points(full)][:2] == ["1M T=1 mixed", "1M T=2 mixed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fast"], "unknown preset 'fast'; use one of quick, full, peers, smoke"),
        (["sise=[5M]"], "sise.*keys: sizes, steps, kinds"),
        (["sizes=[7M]"], "size must be one of tiny, 1M, 5M, 20M, got '7M'"),
        (["steps=[five]"], "five"),
        (["cases=[darts]"], "unknown case 'darts'; known: plain, vanilla, none"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=message):
        windows.read_plan(arguments)
    assert windows.main(arguments) == 2
    assert capsys.readouterr().err


def test_a_measurement_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    plan = windows.read_plan(["smoke"])
    found = windows.ask("memory", windows.points(plan)[0], ["first_order", "unrolled"], plan)
    assert 0 < found["first_order"]["extra_mib"] < found["unrolled"]["extra_mib"] < 100


def test_a_run_measures_every_row_and_keeps_the_points_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(job: str, setting: Setting, cases: list[str], plan: windows.Plan, **options: Any) -> Any:
        return worker.JOBS[job](setting, {"cases": cases, "repetitions": plan.repetitions, **options})

    monkeypatch.setattr(windows, "ask", here)
    out = tmp_path / "bench.json"
    arguments = [
        "smoke",
        "steps=[1]",
        "kinds=[mixed]",
        "cases=[first_order]",
        "agreement_lrs=[1e-4]",
        f"out={out}",
    ]
    assert windows.main(arguments) == 0
    rows = json.loads(out.read_text())["points"]["tiny T=1 mixed"]["rows"]
    assert set(rows) == {PLAIN, VANILLA, "first_order"} and "agreement" not in rows[PLAIN] | rows[VANILLA]
    assert len(rows["first_order"]["seconds"]) == 1
    # exact for T = 1 but for the difference, 1e-4 in float32, of which the cosine loses the square
    assert rows["first_order"]["agreement"]["0.0001"]["cosine"] > 0.9999
    assert "first_order" in out.with_suffix(".md").read_text()
    capsys.readouterr()
    assert windows.main(arguments) == 0
    assert f"1 of 1 points were not measured now, as they are in {out}" in capsys.readouterr().out


def test_figures_of_this_machine_stand_beside_the_committed_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        windows, "ask", lambda job, setting, cases, plan, **_: {case: {"seconds": [2.0]} for case in cases}
    )
    committed = tmp_path / "committed.json"
    there: dict[str, Any] = {"conditions": {"machine": "another", "date": "2020-01-01"}, "rows": {}}
    there["rows"] = {PLAIN: {"seconds": [1.0]}, "unrolled": {"seconds": [3.0]}}
    committed.write_text(json.dumps({"points": {"tiny T=1 single": there}}))
    monkeypatch.setattr(windows, "COMMITTED", committed)
    monkeypatch.setattr(windows.report, "write", lambda results, out: [])
    arguments = ["smoke", "steps=[1]", "cases=[unrolled]", f"out={tmp_path / 'runs' / 'here.json'}"]
    assert windows.main(arguments) == 0
    told = capsys.readouterr().out
    assert "tiny T=1 single: time and extra memory / plain training, here | committed (another, 2020" in told
    assert re.search(r"unrolled +1\.00 +- \| +3\.00", told)
    assert "tiny T=1 mixed: time and extra memory / plain training, here | committed (none)" in told


def test_a_point_without_vanilla_has_no_column_of_it(tmp_path: Path) -> None:
    measured = point(5)
    del measured["rows"][VANILLA]
    report.write({"points": {"one": measured}}, tmp_path / "bench.json")
    text = (tmp_path / "bench.md").read_text()
    assert "time / plain" in text and "time / vanilla" not in text


def test_memory_is_limited_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[dict[str, Any]] = []

    def run(command: list[str], **_: Any) -> Any:
        orders.append(json.loads(command[-1]))
        return subprocess.CompletedProcess(command, 0, stdout="{}", stderr="")

    monkeypatch.setattr(windows.subprocess, "run", run)
    for arguments in (["smoke", "limit_gib=0.5"], ["smoke"]):
        plan = windows.read_plan(arguments)
        windows.ask("time", windows.points(plan)[0], ["none"], plan)
    assert orders[0]["limit_bytes"] == 2**29 < orders[1]["limit_bytes"]


def test_help_names_keys_and_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert windows.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert "make bench" in told and "repetitions=3" in told and "full: sizes=" in told


def test_a_child_that_dies_gives_an_error_to_each_case(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = windows.read_plan(["smoke"])
    monkeypatch.setattr(windows.sys, "executable", "/bin/false")
    assert windows.ask("time", windows.points(plan)[0], ["none", "cg"], plan) == {
        "none": {"error": "ended with code 1"},
        "cg": {"error": "ended with code 1"},
    }


def test_ratios_are_taken_within_a_repetition() -> None:
    measured = point(5)
    assert report.time_ratio(measured, "none") == [3.0, 3.0]
    assert report.time_ratio(measured, "none", to=VANILLA) == [1.5, 1.5]
    assert report.memory_ratio(measured, "first_order") == [4.0]
    assert report.time_ratio(measured, "Betty cg") is None
    assert report.spread([1.0, 4.0, 2.0]) == "2.00 (1.00-4.00)"
    assert report.short([0.123456, 2.0, 0.1]) == "0.1235"


def test_tables_and_plots_of_several_points(tmp_path: Path) -> None:
    points = [point(steps, kind=kind) for steps in (1, 5) for kind in ("single", "mixed")]
    paths = report.write({"points": {str(k): p for k, p in enumerate(points)}}, tmp_path / "bench.json")
    assert [path.name for path in paths] == [
        "bench.md",
        "bench_time.png",
        "bench_memory.png",
        "bench_agreement.png",
    ]
    text = paths[0].read_text()
    assert "## 5M (5,000,000 parameters), T = 5, mixed" in text
    # vanilla comes before it, at twice plain's seconds here
    line = (
        "| none | 3.00 (3.00-3.00) | 1.50 (1.50-1.50) | 7.50 (6.00-9.00) | 30 | 3.00 | 0.990000 | 5.0e-01 |"
    )
    assert line in text and "not installed: No module named 'betty'" in text
    assert "## Time / plain over T, 5M single" in text


def test_one_length_of_window_has_no_plot_over_it() -> None:
    assert plots.over_steps([point(5)], report.time_ratio, what="time") is None
    assert plots.cost_against_agreement([{**point(5), "rows": {PLAIN: {"seconds": [1.0]}}}]) is None


def test_rows_look_different() -> None:
    seen = {
        (look["color"], look["marker"], str(look["linestyle"]), look["markerfacecolor"])
        for look in (plots.looks(case) for case in CASES if case != PLAIN)
    }
    assert len(seen) == len(CASES) - 1
