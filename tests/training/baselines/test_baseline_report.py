"""The report of a baseline's run: the baseline goes by its own name."""

from __future__ import annotations

import pytest
from tiny_run import TinyRun


def test_the_report_names_the_baseline(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("baseline.name=meta_only", "steps=2", report=True) == 0
    assert "meta_only" in (tiny.output / "report.html").read_text()
    assert "baseline meta_only" in capsys.readouterr().out
