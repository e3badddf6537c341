"""A run's state in its checkpoints: saved, and restored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from dreamprm.config.errors import UserError
from dreamprm.data.image_notes import ImageNotes
from dreamprm.files.content import FileDigests
from dreamprm.training.assembly import Run
from dreamprm.training.checkpoint import (
    RANDOM,
    UnusableCheckpoint,
    capture_random_state,
    load_checkpoint,
    restore_random_state,
    save_checkpoint,
)
from dreamprm.training.continuation import deciding_settings
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import TrainConfig


def save(run: Run, config: TrainConfig, folder: RunFolder) -> None:
    """Save a checkpoint of everything that determines the rest of the run; all its processes call this."""
    for notes in run.processes.all_of(run.image_notes):
        run.image_notes.update(notes)
    groups = {
        group: run.shards.collected(values) if run.shards is not None and is_sharded(group) else values
        for group, values in _tensor_groups(run).items()
    }
    if run.processes.first:
        _save(run, config, folder, groups)
    # None ends before the checkpoint is whole: a launcher stops all once one has ended.
    run.processes.wait()


def _save(
    run: Run, config: TrainConfig, folder: RunFolder, groups: dict[str, dict[str, torch.Tensor]]
) -> None:
    state, position = run.state, run.position
    random_tensors, random_state = capture_random_state(run.processes.device)
    tensors = dict(random_tensors)
    for group, values in groups.items():
        tensors |= {f"{group}/{name}": value.detach() for name, value in values.items()}
    folder.flush()
    save_checkpoint(
        folder.checkpoints,
        position,
        tensors=tensors,
        keep=config.checkpoint.keep,
        state={
            "inner_step": position,
            "upper_step": state.upper.step,
            **({"skipped_steps": state.skipped} if state.skipped else {}),
            "random": random_state,
            "image_notes": run.image_notes.to_json(),
            # Batches are functions of the step; the positions are for a person to read.
            "data_positions": run.sampler.positions(position),
            "inputs": run.inputs,
            "logs": folder.log_digests(),
            **({"processes": run.processes.share.count} if run.processes.several else {}),
            **({"shard": True} if run.shards is not None else {}),
        },
        run={"settings": deciding_settings(config)},
        removable=run.removable,
    )


def restore(run: Run, checkpoint: str | Path, *, digests: FileDigests | None = None) -> None:
    """Bring a run to the state in a checkpoint.

    Raises:
        UserError: the checkpoint is damaged, or of another model.
    """
    tensors, saved = load_checkpoint(checkpoint, digests=digests)
    own = {f"{group}/{name}" for group, values in _tensor_groups(run).items() for name in values}
    surplus = sorted(name for name in tensors.keys() - own if not name.startswith(RANDOM))
    if surplus:
        raise UserError(
            f"checkpoint {checkpoint} does not fit this run: it holds {len(surplus)} tensors that the run "
            f"does not have, the first {surplus[0]}"
        )
    for group, values in _tensor_groups(run).items():
        shards = run.shards if is_sharded(group) else None
        for name, value in values.items():
            stored = tensors.get(f"{group}/{name}")
            shape = value.shape if shards is None else shards.shapes[name]
            if stored is None or stored.shape != shape:
                found = "missing" if stored is None else tuple(stored.shape)
                raise UserError(
                    f"checkpoint {checkpoint} does not fit this run: {group}/{name} is {found}, "
                    f"expected {tuple(shape)}"
                )
            if shards is not None:
                stored = shards.own(name, stored)
            # In place: the module shares these tensors, and a second copy of a 2B model is 9 GB.
            value.detach().copy_(stored)
    inner, upper = saved.get("inner_step"), saved.get("upper_step")
    skipped = saved.get("skipped_steps", 0)
    if (
        type(inner) is not int
        or type(upper) is not int
        or type(skipped) is not int
        or not 0 <= upper <= inner - skipped <= inner
    ):
        raise UnusableCheckpoint(
            f"checkpoint {checkpoint} contradicts itself: inner_step is {inner!r}, upper_step {upper!r}"
        )
    before, now = (
        _division(saved.get("processes", 1), saved.get("shard", False)),
        _division(run.processes.share.count, run.shards is not None),
    )
    if before != now:
        run.processes.say(
            f"{checkpoint}: processes then {before}, now {now}. Sums are rounded in another order, so the "
            "rest of the run is the same to rounding, not to the bit"
        )
    run.state = dataclasses.replace(
        run.state,
        inner=run.trainer.inner.make_state(inner - skipped, run.state.inner.moments),
        upper=dataclasses.replace(run.state.upper, step=upper),
        skipped=skipped,
    )
    try:
        restore_random_state(tensors, saved["random"], run.processes.device)
        run.image_notes = ImageNotes(**saved.get("image_notes", {}))  # none before version 0.3
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UnusableCheckpoint(f"checkpoint {checkpoint} is damaged ({error!r})") from error


def _division(count: int, sharded: bool) -> str:
    return f"{count} with sharded parameters" if sharded else f"{count}"


def is_sharded(group: str) -> bool:
    """Whether this group's tensors are shaped like the parameters, and so divided where these are."""
    return group == "params" or group.startswith("inner_")


def _tensor_groups(run: Run) -> dict[str, dict[str, torch.Tensor]]:
    state = run.state
    return {
        "params": state.params,
        "alpha": state.alpha,
        **{f"inner_{kind}": moments for kind, moments in state.inner.moments.items()},
        **{f"upper_{kind}": moments for kind, moments in state.upper.moments.items()},
        "weights_memory": run.memory,
    }
