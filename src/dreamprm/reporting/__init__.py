"""Reports of finished runs, made from the files of a run folder alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreamprm.errors import UserError
from dreamprm.reporting.console import final_table
from dreamprm.reporting.folders.run import Run, read_run

if TYPE_CHECKING:
    from dreamprm.reporting.report import Report

__all__ = ["final_table", "read_run", "render_report", "run_report", "write_report"]


def render_report(report: Report) -> str:
    """The page of a report as text, without writing a file; the same folders give the same text."""
    # Imported here: the sections draw by matplotlib, which takes half a second.
    from dreamprm.reporting.document import page
    from dreamprm.reporting.sections import sections_of

    return page(report.title, sections_of(report))


def run_report(paths: Sequence[str]) -> None:
    """Write the report of each run folder and print its final table: `dreamprm report RUN...`.

    All folders are read before the first report is written.
    Raises: UserError where no folder is given, one is missing, or its files are missing or damaged.
    """
    if not paths:
        raise UserError("no run folder given; use `dreamprm report RUN...`, for instance runs/sandbox")
    for run in [read_run(path) for path in paths]:
        page = write_report(run)
        print(final_table(run.summary))
        print(f"\nReport: {page}")


def write_report(run: Run | str | Path) -> Path:
    """Write plots/*.png and report.html into a run folder; plots of an earlier report are replaced.

    Args: run, or the folder of one. Returns: the path of report.html. Raises: UserError as read_run does.
    """
    # Imported here: matplotlib takes half a second, and reading a run or its table needs none of it.
    from dreamprm.reporting.page import render
    from dreamprm.reporting.plots import PLOTS
    from dreamprm.reporting.plots.style import png

    run = run if isinstance(run, Run) else read_run(run)
    images = {name: png(figure) for name, draw in PLOTS.items() if (figure := draw(run)) is not None}
    folder = run.folder / "plots"
    folder.mkdir(exist_ok=True)
    for name in PLOTS:
        if name in images:
            _replace(folder / f"{name}.png", images[name])
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)
    page = run.folder / "report.html"
    _replace(page, render(run, images).encode("utf-8"))
    return page


def _replace(path: Path, data: bytes) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
