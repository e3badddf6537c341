"""Checkpoints: tensors as safetensors and the rest as JSON, in a folder that appears whole or not at all.

A new checkpoint is complete and on disk before older ones are removed.
Everything that determines the rest of a run belongs in it; `capture_random_state` gives the random states.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import atomic_folder, remove_folder, remove_leftovers, restore_replaced

TENSORS = "tensors.safetensors"
STATE = "state.json"
RANDOM = "random."  # prefix of the random states among a checkpoint's tensors

_FINAL = re.compile(r"step-(\d+)")


def save_checkpoint(
    folder: str | os.PathLike[str],
    step: int,
    *,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write `folder/step-NNNNNN/` atomically, then remove all but the newest `keep` checkpoints.

    Only one process may write to a folder at a time. A checkpoint of the same step is replaced.

    Args:
        folder: the run's checkpoint folder; made if missing.
        step: inner steps done, >= 0.
        tensors: by name, of any shape, dtype and device; shared storage (tied weights) is stored twice.
        state: JSON values; tuples come back as lists.
        keep: checkpoints to keep, >= 1.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: `step` or `keep` out of range.
        TypeError: `state` holds something that JSON cannot; nothing is written.
        OSError: the disk is full or read-only; the checkpoints that were there are untouched.
    """
    if step < 0:
        raise ValueError(f"step must be >= 0, got {step}")
    if keep < 1:
        raise ValueError(f"keep must be >= 1, got {keep}; the newest checkpoint always stays")
    text = json.dumps({"step": step, "state": dict(state)}, indent=1)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers(root)
    final = root / f"step-{step:06d}"
    with atomic_folder(final) as partial:
        save_file(_storable(tensors), partial / TENSORS)
        (partial / STATE).write_text(text, encoding="utf-8")
    # Newest means highest step, but the one just written stays even if the run went back to an earlier step.
    others = [path for path in _finished(root) if path != final]
    for path in others[: max(0, len(others) - (keep - 1))]:
        remove_folder(path)
    return final


def latest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The finished checkpoint with the most steps in the folder; None if there is none.

    Leftovers of an interrupted write are never returned.
    """
    root = Path(folder)
    if not root.is_dir():
        return None
    restore_replaced(root)
    finished = _finished(root)
    return finished[-1] if finished else None


def remove_later_checkpoints(folder: str | os.PathLike[str], step: int) -> None:
    """Remove the checkpoints after `step` inner steps, for a run that goes back to that step.

    They may come from other settings, and the next `latest_checkpoint` must not find them.
    """
    root = Path(folder)
    if root.is_dir():
        remove_leftovers(root)
        for path in _finished(root):
            if int(path.name.removeprefix("step-")) > step:
                remove_folder(path)


WAYS_OUT = (
    "give an earlier checkpoint (resume=PATH); or start from scratch, with overwrite=true to replace the "
    "run, or with resume=never and another output"
)
"""What to do about a checkpoint that cannot be used."""


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint: its tensors (on the CPU) by name, and its state.

    Raises:
        UserError: the folder or one of its files is missing, cut short or malformed.
    """
    folder = Path(path)
    state = load_state(folder)
    try:
        tensors = load_file(folder / TENSORS)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"checkpoint file {folder / TENSORS} is damaged ({error}); {WAYS_OUT}") from error
    return tensors, state


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the state of a checkpoint without its tensors.

    Raises:
        UserError: the folder or one of its files is missing, or the state is cut short or malformed.
    """
    folder = Path(path)
    for name in (STATE, TENSORS):
        if not (folder / name).is_file():
            raise UserError(f"checkpoint {folder} is incomplete: {name} is missing; {WAYS_OUT}")
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))["state"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"checkpoint file {folder / STATE} is damaged ({error}); {WAYS_OUT}") from error
    return state


def capture_random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of Python's, numpy's and torch's global generators (CPU, and CUDA if present).

    Returns:
        tensors: names start with `random.`, to be stored alongside a checkpoint's own tensors.
        state: JSON values, for `restore_random_state`.
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    tensors = {
        RANDOM + "python": torch.tensor(words, dtype=torch.int64),
        RANDOM + "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        RANDOM + "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        for index, cuda_state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"{RANDOM}cuda.{index}"] = cuda_state
    state = {
        "python": {"version": version, "gauss": gauss},
        "numpy": {"position": int(position), "has_gauss": int(has_gauss), "cached": float(cached)},
    }
    return tensors, state


def restore_random_state(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Set the global generators to a captured state; `tensors` may hold a whole checkpoint's tensors.

    GPUs that are not in the captured state keep their own state.

    Raises:
        UserError: a generator's state is missing; no generator is changed then.
    """
    missing = [RANDOM + name for name in ("python", "numpy", "torch") if RANDOM + name not in tensors]
    missing += [f"state of {name}" for name in ("python", "numpy") if name not in state]
    if missing:
        raise UserError(f"the checkpoint holds no {', no '.join(missing)}; {WAYS_OUT}")
    words = tuple(tensors[RANDOM + "python"].tolist())
    random.setstate((state["python"]["version"], words, state["python"]["gauss"]))
    keys = tensors[RANDOM + "numpy"].numpy().astype(np.uint32)
    kept = state["numpy"]
    np.random.set_state(("MT19937", keys, kept["position"], kept["has_gauss"], kept["cached"]))
    torch.set_rng_state(tensors[RANDOM + "torch"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"{RANDOM}cuda.{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"{RANDOM}cuda.{index}"], index)


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Detached, contiguous CPU tensors with separate storages, as safetensors requires."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        stored = tensor.detach().to("cpu").contiguous()
        storage = stored.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != stored.nbytes:
            stored = stored.clone()
        seen.add(stored.untyped_storage().data_ptr())
        result[name] = stored
    return result


def _finished(root: Path) -> list[Path]:
    """Finished checkpoints in order of steps."""
    found = [(int(match[1]), path) for path in root.iterdir() if (match := _FINAL.fullmatch(path.name))]
    return [path for _, path in sorted(found)]
