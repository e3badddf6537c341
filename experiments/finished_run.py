"""A finished run, opened again: its configuration, its states along training, the batches that come next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamprm.config.loading import load_config
from dreamprm.training.assembly import Run, assemble
from dreamprm.training.level_settings import HypergradSettings
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig
from dreamprm.training.train import restore


def read_config(folder: Path) -> TrainConfig:
    """The run's configuration with eager attention for all estimators, as it has second-order gradients."""
    config = load_config(TrainConfig, folder / "config.yaml")
    return dataclasses.replace(
        config,
        hypergrad=HypergradSettings(name="unrolled"),
        model=dataclasses.replace(config.model, attn_implementation="eager"),
    )


def checkpoints(folder: Path) -> list[Path]:
    """The states that the run kept, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*"))


def open_run(config: TrainConfig, checkpoint: Path | None) -> Run:
    """The run at a checkpoint, or at its start."""
    run = assemble(config, make_accelerator(config), say=lambda line: None)
    if checkpoint is not None:
        restore(run, str(checkpoint))
    return run


def windows(run: Run, config: TrainConfig, *, count: int) -> Iterator[tuple[list[Any], Any]]:
    """(inner batches, meta batch) of the windows that follow the run's current state."""
    length = config.inner_steps
    first = run.state.inner.step // length
    for window in range(first, first + count):
        yield (
            [run.step_batches[step] for step in range(window * length, (window + 1) * length)],
            run.meta_batches[window],
        )
