"""`dreamprm report`: one page on folders of runs and evaluations, and the plots of each run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import remove_ended, write_atomically
from dreamprm.files.distinct import require_distinct
from dreamprm.files.locks import owned_path
from dreamprm.reporting.console import final_table
from dreamprm.reporting.contents import Report, read_report
from dreamprm.reporting.folders.run import Run, read_run

PAGE = "report.html"
KNOWN = "output=PAGE.html, the page to write"


def run_report(arguments: Sequence[str]) -> None:
    """Write one page that covers all folders, and the plots of each run.

    The command is `dreamprm report FOLDER... [output=PAGE.html]`. The page of one folder is its report.html,
    that of several is report.html in the folder that holds all of them, unless `output` says otherwise. The
    table of a single run is printed too. All folders are read, and the page is made, before anything is
    written.

    Raises: UserError if no folder is given, one is missing or its files are missing or damaged, a setting is
    unknown, or the page cannot be written to its place.
    """
    folders, output = _parsed(arguments)
    require_distinct(folders, "folders")
    report = read_report(folders)
    place = _place(report, output)
    write_report(report, place)
    if len(report.folders) == 1 and report.runs:
        print(final_table(report.runs[0].summary) + "\n")
    print(f"Report: {place}")


def write_report(report: Report | Run | str | Path, output: Path | None = None) -> Path:
    """Write the page, and plots/*.png into each run folder; plots of an earlier report are replaced.

    A run folder that is not writable keeps its old plots, and a message says so.

    Args:
        report: a report, a run, or a run folder.
        output: the page; by default where `run_report` puts it.
    Returns: the path of the page.
    Raises: UserError as run_report does.
    """
    if not isinstance(report, Report):
        report = Report(runs=(report if isinstance(report, Run) else read_run(report),))
    place = _place(report, None) if output is None else output
    with owned_path(place):
        text = render_report(report).encode("utf-8")
        for run, images in [(run, report.plots(run)) for run in report.runs]:
            if os.access(run.folder, os.W_OK):
                _write_plots(run.folder / "plots", images)
            else:
                print(f"{run.folder} cannot be written to; its plots folder stays as it is")
        write_atomically(place, text)
    return place


def render_report(report: Report) -> str:
    """The page of a report as text, without writing a file; the same folders give the same text."""
    # Imported here: the sections need matplotlib, which takes half a second to import.
    from dreamprm.reporting.document import page
    from dreamprm.reporting.sections import sections_of

    return page(report.title, sections_of(report))


def _parsed(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """The folders, and the value of `output`; a folder whose name holds "=" is still a folder."""
    folders = [one for one in arguments if "=" not in one or os.path.isdir(one)]
    given = dict(one.split("=", 1) for one in arguments if one not in folders)
    unknown = sorted(set(given) - {"output"})
    if unknown:
        raise UserError(f"report has no setting {unknown[0]!r}; it knows {KNOWN}")
    if "output" not in given:
        return folders, None
    output = Path(given["output"])
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"output={output} must be a file that ends in .html; write {KNOWN}")
    if output.is_dir():
        raise UserError(f"output={output} is a folder; name a file in it, such as output={output / PAGE}")
    return folders, output


def _place(report: Report, output: Path | None) -> Path:
    """The path of the page, which is checked to be writable."""
    if output is not None:
        place, advice = output, "name a folder that exists and can be written to"
    elif len(report.folders) == 1:
        place, advice = report.folders[0].folder / PAGE, "name another path with output=PAGE.html"
    else:
        # The common folder of their parents: for a run and a folder inside it, the one around the run.
        holders = [str(one.folder.resolve().parent) for one in report.folders]
        try:
            common = Path(os.path.commonpath(holders))
        except ValueError:  # on different drives
            common = Path(Path(holders[0]).anchor)
        if common == Path(common.anchor):
            raise UserError(
                f"the folders share no parent folder except {common}; name the page's path with "
                "output=PAGE.html"
            )
        place, advice = common / PAGE, "name its path with output=PAGE.html"
    parent = place.parent
    if parent.is_dir():
        remove_ended(parent, re.compile(re.escape(place.name)))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        reason = "cannot be written to" if parent.is_dir() else "does not exist"
        raise UserError(f"the page cannot be written to {place}: {parent} {reason}; {advice}")
    return place


def _write_plots(folder: Path, images: Mapping[str, bytes]) -> None:
    from dreamprm.reporting.plots import PLOTS

    folder.mkdir(exist_ok=True)
    for name in PLOTS:
        if name in images:
            write_atomically(folder / f"{name}.png", images[name])
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)
