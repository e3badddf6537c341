"""The report of a baseline's run: the baseline stands among the selectors under its own name."""

from __future__ import annotations

from tiny_run import TinyRun


def test_the_report_names_the_baseline(tiny: TinyRun) -> None:
    tiny.config["evaluation"] = {"suites": {"first": str(tiny.folder / "first.jsonl")}}
    assert tiny.train("baseline.name=meta_only", "steps=2") == 0
    assert "meta_only" in (tiny.output / "report.html").read_text()
    assert tiny.summary()["best_of_n"]["meta_only"].keys() == {"first", "mean"}
