"""What a report covers: any number of runs, evaluations of selectors and evaluations of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dreamprm.config.errors import UserError
from dreamprm.reporting.folders import evaluation, steps
from dreamprm.reporting.folders.evaluation import EvaluationFolder, read_evaluation
from dreamprm.reporting.folders.run import Run, read_run
from dreamprm.reporting.folders.steps import StepsFolder, read_steps

Folder = Run | EvaluationFolder | StepsFolder


@dataclass(frozen=True)
class Report:
    """The folders that a page shows, each kind in the order given."""

    runs: tuple[Run, ...] = ()
    evaluations: tuple[EvaluationFolder, ...] = ()
    steps: tuple[StepsFolder, ...] = ()

    @property
    def folders(self) -> tuple[Folder, ...]:
        """All of them."""
        return (*self.runs, *self.evaluations, *self.steps)

    @property
    def title(self) -> str:
        """The name of the only folder, or how many of each kind there are."""
        if len(self.folders) == 1:
            return self.folders[0].name
        counts = [
            _counted(len(self.runs), "training run"),
            _counted(len(self.evaluations), "evaluation"),
            _counted(len(self.steps), "step-level evaluation"),
        ]
        return ", ".join(count for count in counts if count)

    def plots(self, run: Run) -> Mapping[str, bytes]:
        """The plots of one of the runs: PNG by file name, in order; plots without data are absent."""
        return next(plots for one, plots in zip(self.runs, self._drawn, strict=True) if one is run)

    @cached_property
    def _drawn(self) -> tuple[Mapping[str, bytes], ...]:
        """Drawn once, for the page and for the runs' folders."""
        from dreamprm.evaluation.plots.style import png
        from dreamprm.reporting.plots import PLOTS

        figures = [{name: draw(run) for name, draw in PLOTS.items()} for run in self.runs]
        return tuple(
            {name: png(figure) for name, figure in one.items() if figure is not None} for one in figures
        )

    def label(self, folder: Folder) -> str:
        """The name a folder has on the page: its own, or as much of its path as makes it unique."""
        taken = {name for other in self.folders if other is not folder for name in _names(other)}
        return next((name for name in _names(folder) if name not in taken), str(folder.folder))


def _names(folder: Folder) -> list[str]:
    """What a folder may be called, shortest first: its name, then longer and longer ends of its path."""
    parts = folder.folder.resolve().parts[1:]
    return [folder.name, *("/".join(parts[-length:]) for length in range(1, len(parts) + 1))]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}" if count else ""


def read_folder(path: str | Path) -> Folder:
    """Read a folder of any of the three kinds, recognised by the file that its command writes last.

    Raises: UserError if it is none of them; and as the kind's reader does.
    """
    folder = Path(path)
    if (folder / evaluation.RESULT).is_file():
        return read_evaluation(folder)
    if (folder / steps.RESULT).is_file():
        return read_steps(folder)
    if folder.is_dir() and not (folder / "metrics.jsonl").is_file():
        raise UserError(
            f"{folder} is not a folder that a report can be made of: those are written by `dreamprm train` "
            f"(with metrics.jsonl), `dreamprm evaluate` ({evaluation.RESULT}) and `dreamprm evaluate-steps` "
            f"({steps.RESULT}); name one of these, or let its command finish first"
        )
    return read_run(folder)


def read_report(paths: Sequence[str | Path]) -> Report:
    """Read all folders; one that is given twice is shown once.

    Raises: UserError if no folder is given or one cannot be read.
    """
    if not paths:
        raise UserError("no folder given; use `dreamprm report FOLDER...`, for instance runs/sandbox")
    folders = [read_folder(path) for path in {Path(path).resolve(): path for path in paths}.values()]
    return Report(
        runs=tuple(one for one in folders if isinstance(one, Run)),
        evaluations=tuple(one for one in folders if isinstance(one, EvaluationFolder)),
        steps=tuple(one for one in folders if isinstance(one, StepsFolder)),
    )
