"""Tiny runs, for one process or for several that `several_processes.together` started."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
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
from dreamprm.models.batch_loading import WindowBatches, window_batches
from dreamprm.training import assembly
from dreamprm.training import train as training
from dreamprm.training.assembly import Run
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig
from experiments.float64 import Float64Inside

Array = NDArray[np.floating[Any]]
WINDOWS, INNER_STEPS = 3, 2

# Not eps=1e-8: a key's bias has the gradient 0, and AdamW would make steps of its rounding; and alpha's first
# steps would be its learning rate, whatever the gradient is.
PLAIN = ["inner.eps=1e-5", "upper.eps=1e-3"]
MIXED = ["sampling=mixed", "batch_size=2", *PLAIN]

# How far params, alpha and losses may be apart in float64 after the windows: the same operations in another
# order; differences have their own rounding.
EXACT = {"params": 1e-12, "alpha": 1e-9, "inner": 1e-10, "outer": 1e-10}


def divided_rows(plain: list[str]) -> dict[str, list[str]]:
    """Overrides of runs that train alike however their batches are divided.

    Args:
        plain: overrides of those with batches of one domain.
    """
    return {
        "first_order": plain,
        "first_order, several domains": MIXED,
        "first_order, double backward": [
            "hypergrad={name: first_order, derivative: double_backward}",
            *MIXED,
        ],
        "first_order, forward mode": ["hypergrad={name: first_order, derivative: forward_mode}", *MIXED],
        "adjoint": ["hypergrad.name=adjoint", *MIXED],
        "adjoint, differences": ["hypergrad={name: adjoint, derivative: central_difference}", *plain],
        "neumann": ["hypergrad={name: implicit, solver: neumann, step: 0.001}", *plain],
        "cg": ["hypergrad={name: implicit, solver: cg, damping: 100.0}", *plain],
        "finite_difference": ["hypergrad.name=finite_difference", *plain],
        "penalty": ["hypergrad.name=penalty", *plain],
        "forward_gradient": ["hypergrad.name=forward_gradient", *plain],
        "none": ["hypergrad.name=none", *plain],
        "clipping": ["inner.max_grad_norm=0.05", *MIXED],
        "weights of CoTs, a table": ["weights.kind=instance_table", *plain],
        "corrected labels": ["weights={kind: labels, correct: all}", *MIXED],
        "weights of CoTs, a network": [
            "weights={kind: instance_net, features: [loss, steps, domain]}",
            *MIXED,
        ],
        "texts": ["lm_weight=0.5", "lm_batch_size=2", "data.lm=FOLDER/pool.jsonl", *plain],
        "frozen vision tower": ["model.freeze_vision=true", *plain],
        "audited": ["hypergrad.audit_every=1", *plain],
        "the baseline doge": ["baseline.name=doge", *MIXED],
        "the ablation without an aggregation": ["meta_loss=step", *plain],
    }


def too_far_apart(
    pairs: Mapping[str, tuple[Mapping[str, Array], Mapping[str, Array]]], bounds: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Of pairs of results of `some_windows`, those that are further apart than the bounds allow.

    `pytest -s` shows how far all of them are.
    """
    found = {}
    for name, (one, other) in pairs.items():
        apart = dict.fromkeys(bounds, 0.0)
        for key, value in one.items():
            kind = key.split()[0]
            apart[kind] = max(apart[kind], float(abs(other[key] - value).max()))
        print(f"{name:45}", "  ".join(f"{kind} {value:.0e}" for kind, value in apart.items()))
        if any(apart[kind] > bounds[kind] for kind in bounds):
            found[name] = apart
    return found


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
