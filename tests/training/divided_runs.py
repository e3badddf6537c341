"""Tiny runs, for one process or for several that `several_processes.together` started."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from tiny_run import DOMAINS, TinyRun, tiny_run

from dreamprm.cli import COMMANDS, main
from dreamprm.config.errors import DataError
from dreamprm.config.loading import load_config
from dreamprm.models.collation import WindowBatches, window_batches
from dreamprm.training import assembly
from dreamprm.training import train as training
from dreamprm.training.assembly import Run
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig
from experiments.float64 import Float64Inside

Array = NDArray[np.floating[Any]]
WINDOWS, INNER_STEPS = 3, 2


def ragged_run(folder: Path, checkpoint: Path) -> TinyRun:
    """A tiny run whose processes hold unequal numbers of labels, domains and images, down to none."""
    tiny = tiny_run(folder, checkpoint)
    for domain in DOMAINS:
        file = tiny.folder / f"{domain}.jsonl"
        records = [json.loads(line) for line in file.read_text().splitlines()]
        records[2]["labels"][1] = None
        records[4]["labels"][0] = None
        for number in (1, 3):
            del records[number]["image"]
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    tiny.config["data"]["allow_no_image"] = True
    tiny.write()
    return tiny


def some_windows(config: Path, rows: Sequence[Sequence[str]], dtype: torch.dtype) -> list[dict[str, Array]]:
    """Of each row of overrides (FOLDER is that of config), what some windows leave: params, alpha, losses."""
    folder = str(config.parent)
    return [
        _windows(config, [one.replace("FOLDER", folder) for one in overrides], dtype) for overrides in rows
    ]


def _windows(path: Path, overrides: Sequence[str], dtype: torch.dtype) -> dict[str, Array]:
    config = load_config(TrainConfig, path, [f"steps={WINDOWS * INNER_STEPS}", *overrides])
    make_prm = assembly.make_prm
    # From the start: a trunk's states may be computed before the first step.
    with Float64Inside() if dtype == torch.float64 else nullcontext():
        with patch.object(assembly, "make_prm", lambda config, **given: make_prm(config, **given).to(dtype)):
            run = assembly.assemble(config, make_accelerator(config), say=lambda line: None)
        run.state.alpha = {name: value.to(dtype) for name, value in run.state.alpha.items()}
        return _results(run)


def _results(run: Run) -> dict[str, Array]:
    upper = run.trainer.upper
    if upper is not None:
        run.state.upper = upper.init(run.state.alpha)
    assembly.rehearse(run)
    inner, outer = window_batches(
        WindowBatches(run.step_batches, run.meta_batches, inner_steps=INNER_STEPS), first=0, last=WINDOWS
    )
    windows = list(run.trainer.run(run.state, inner_batches=inner, outer_batches=outer, windows=WINDOWS))
    params = run.state.params if run.shards is None else run.shards.whole(run.state.params)
    found = {
        **{f"params {name}": value for name, value in params.items()},
        **{f"alpha {name}": value for name, value in run.state.alpha.items()},
        "inner losses": torch.stack([window.inner_losses for window in windows]),
        "outer losses": torch.stack([window.outer_loss for window in windows]),
    }
    return {name: value.detach().numpy() for name, value in found.items()}


SIGNALS = {"terminated": signal.SIGTERM, "killed": signal.SIGKILL}


def train_command(config: Path, overrides: Sequence[str], fault: str = "") -> tuple[int, str]:
    """`dreamprm train` without its report; returns the exit code, and what it wrote to stderr.

    Args:
        fault: what befalls process 1 after its third window: "terminated" (a SIGTERM), "killed" (a SIGKILL),
            "unread" (its next batch cannot be read), or nothing.
    """
    faults: list[Any] = []
    if fault:
        faults.append(patch.object(training, "metrics", _faulty(training.metrics, fault)))
    with patch.dict(COMMANDS, {"train": replace(COMMANDS["train"], then=None)}):
        for one in faults:
            one.start()
        try:
            with redirect_stderr(io.StringIO()) as told:
                return main(["train", str(config), *overrides]), told.getvalue()
        finally:
            for one in faults:
                one.stop()


def _faulty(metrics: Any, fault: str) -> Any:
    def changed(run: Any, window: Any, *, number: int, seconds: float) -> Any:
        if number == 3 and run.processes.share.rank == 1:
            if fault in SIGNALS:
                os.kill(os.getpid(), SIGNALS[fault])
            else:

                def unread(step: int) -> Any:
                    raise DataError("image gone.png is missing")

                type(run.step_batches).__getitem__ = lambda self, step: unread(step)
        return metrics(run, window, number=number, seconds=seconds)

    return changed


if __name__ == "__main__":  # CONFIG FAULT, started by a launcher
    code, told = train_command(Path(sys.argv[1]), [], sys.argv[2])
    sys.stderr.write(told)
    sys.exit(code)
