"""The table at the end of `make fuzz`: how many cases of each target have run, and how long they took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fuzzing
import pytest
import torch


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Numbers as programs usually have them; hypothesis draws denormal ones too."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note the number of cases with the test's result, which another process sends to the first one."""
    before = fuzzing.ran
    try:
        return (yield)
    finally:
        item.user_properties.append(("cases", fuzzing.ran - before))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Cases and seconds by target, where `--cases` asks for many."""
    if fuzzing.cases is None:
        return
    terminalreporter.section("cases")
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                count = dict(report.user_properties).get("cases", 0)
                name = report.nodeid.rpartition("::")[2]
                terminalreporter.write_line(f"{count:9,} cases {report.duration:8.0f} s  {name} {outcome}")
