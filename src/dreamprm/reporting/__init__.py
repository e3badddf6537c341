"""Reports of finished runs and evaluations, made only from the files in their folders."""

from dreamprm.reporting.console import final_table
from dreamprm.reporting.folders.run import read_run
from dreamprm.reporting.report import render_report, run_report, write_report

__all__ = ["final_table", "read_run", "render_report", "run_report", "write_report"]
