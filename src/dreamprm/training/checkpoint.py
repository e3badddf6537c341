"""Checkpoints: tensors as safetensors and the rest as JSON, in a folder that appears whole or not at all.

A new checkpoint is complete and on disk before older ones are removed. state.json says what the folder
holds, by digest, and which run it is of, and ends with a digest of itself: later damage is noticed.
Everything that determines the rest of a run belongs in it; `capture_random_state` gives the random states.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import (
    atomic_folder,
    make_folder,
    remove_folder,
    remove_leftovers,
    restore_replaced,
)
from dreamprm.files.content import FileDigests
from dreamprm.files.disk_errors import disk_error
from dreamprm.files.sealed_json import broken_seal, sealed

TENSORS = "tensors.safetensors"
STATE = "state.json"
RANDOM = "random."  # prefix of the random states among a checkpoint's tensors
FORMAT = 2
"""Of state.json; version 0.2.0 and older wrote none, and no digests."""

STEPS = re.compile(r"step-([0-9]+)")
"""The names of checkpoints' folders."""

WAYS_OUT = (
    "give an earlier checkpoint (resume=PATH); or start from scratch, with overwrite=true to replace the "
    "run, or with resume=never and another output"
)
"""What to do about a checkpoint that cannot be used."""


class UnusableCheckpoint(UserError):
    """A checkpoint that is damaged or of another run, with the reason apart from the advice."""

    def __init__(self, reason: str, advice: str = WAYS_OUT, *, between: str = "; ") -> None:
        super().__init__(f"{reason}{between}{advice}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a checkpoint's state.json says.

    Attributes:
        step: inner steps done.
        state: as given to `save_checkpoint`.
        run: as given to `save_checkpoint`: what it is a checkpoint of.
        files: size and SHA-256 of the other files, by name; None in version 0.2.0 and older.
    """

    step: int
    state: dict[str, Any]
    run: dict[str, Any]
    files: dict[str, dict[str, Any]] | None


def save_checkpoint(
    folder: str | os.PathLike[str],
    step: int,
    *,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: int = 2,
    run: Mapping[str, Any] | None = None,
    removable: Callable[[Path], bool] = lambda path: True,
) -> Path:
    """Write `folder/step-NNNNNN/` atomically, then remove all but the newest `keep` checkpoints.

    Only one process may write to a folder at a time. A checkpoint of the same step is replaced.

    Args:
        folder: the run's checkpoint folder; made if missing.
        step: inner steps done, >= 0.
        tensors: by name, of any shape, dtype and device; shared storage (tied weights) is stored twice.
        state: JSON values; tuples come back as lists.
        keep: checkpoints to keep, >= 1.
        run: JSON values that say which run it is of.
        removable: which of the older checkpoints may be removed; the others stay and do not count.

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
    content: dict[str, Any] = {"format": FORMAT, "step": step, "run": dict(run or {}), "state": dict(state)}
    json.dumps(content)
    root = Path(folder)
    final = root / f"step-{step:06d}"
    try:
        make_folder(root)
        remove_leftovers(root, STEPS)
        with atomic_folder(final) as partial:
            save_file(_storable(tensors), partial / TENSORS)
            size = (partial / TENSORS).stat().st_size
            content["files"] = {TENSORS: {"bytes": size, "sha256": FileDigests().of(partial / TENSORS)}}
            (partial / STATE).write_text(sealed(content), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        found = disk_error(error)
        if found is None:
            raise
        raise OSError(found.errno, found.strerror, str(final)) from error
    # Newest means highest step, but the one just written stays even if the run went back to an earlier step.
    others = [path for path in checkpoints_in(root) if path != final and removable(path)]
    for path in others[: max(0, len(others) - (keep - 1))]:
        remove_folder(path)
    return final


def checkpoints_in(folder: str | os.PathLike[str]) -> list[Path]:
    """What has the name of a finished checkpoint in the folder, in order of steps, whole or not.

    Leftovers of an interrupted write are never among them.

    Raises:
        UserError: it is not a folder.
    """
    root = Path(folder)
    if not root.exists():
        return []
    if not root.is_dir():
        raise UserError(f"{root} is a file, where checkpoints should be; move it elsewhere")
    restore_replaced(root)
    found = [(int(match[1]), path) for path in root.iterdir() if (match := STEPS.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def latest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The finished checkpoint with the most steps in the folder; None if there is none.

    Leftovers of an interrupted write are never returned.
    """
    finished = checkpoints_in(folder)
    return finished[-1] if finished else None


def remove_later_checkpoints(
    folder: str | os.PathLike[str], step: int, *, removable: Callable[[Path], bool] = lambda path: True
) -> list[Path]:
    """Remove the checkpoints after `step` inner steps, for a run that goes back to that step.

    They may come from other settings, and the next `latest_checkpoint` must not find them.

    Args:
        removable: which of them may be removed; the others get another name.

    Returns:
        The new names of the others.
    """
    root, aside = Path(folder), []
    if root.is_dir():
        remove_leftovers(root, STEPS)
        for path in checkpoints_in(root):
            if int(path.name.removeprefix("step-")) > step:
                if removable(path):
                    remove_folder(path)
                else:
                    aside.append(_set_aside(path))
    return aside


def _set_aside(path: Path) -> Path:
    """Give a folder a name that is not a checkpoint's, without removing anything."""
    number, target = 1, path.with_name(f"{path.name}.set-aside")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.set-aside-{number}")
    os.rename(path, target)
    return target


def load_checkpoint(
    path: str | os.PathLike[str], *, digests: FileDigests | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint that is found to be whole: its tensors (on the CPU) by name, and its state.

    Args:
        digests: of the running command; None: its files are read anew.

    Raises:
        UserError: the folder or one of its files is missing, cut short or damaged.
    """
    folder = Path(path)
    header = read_header(folder)
    check_files(folder, header, digests or FileDigests())
    try:
        tensors = load_file(folder / TENSORS)
    except (SafetensorError, ValueError, OSError) as error:
        raise UnusableCheckpoint(f"checkpoint file {folder / TENSORS} is damaged ({error})") from error
    return tensors, header.state


def is_finite(path: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint can be read and holds no NaN or infinity."""
    try:
        tensors = load_file(Path(path) / TENSORS)
    except (SafetensorError, ValueError, OSError):
        return False
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the state of a checkpoint without its tensors.

    Raises:
        UserError: the folder or one of its files is missing, or the state is cut short or damaged.
    """
    return read_header(path).state


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check state.json; of the other files, only whether they are there.

    Raises:
        UserError: the folder or one of its files is missing, there are others, or state.json is damaged, of
            another version, or of another step than the folder's name says.
    """
    folder = Path(path)
    for name in (STATE, TENSORS):
        if not (folder / name).is_file():
            what = "is not a file" if (folder / name).exists() else "is missing"
            raise UnusableCheckpoint(f"checkpoint {folder} is incomplete: {name} {what}")
    file = folder / STATE
    try:
        text = file.read_bytes()
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableCheckpoint(f"checkpoint file {file} is damaged ({error})") from error
    header = _older(content) or _header(file, text, content)
    surplus = sorted(
        one.name for one in folder.iterdir() if one.name not in (STATE, TENSORS) and one.name[0] != "."
    )
    if surplus and header.files is not None:
        raise UnusableCheckpoint(
            f"checkpoint {folder} holds what is not a part of it: {', '.join(surplus[:5])}"
        )
    named = STEPS.fullmatch(folder.name)  # a folder that somebody has renamed says nothing
    steps = {
        "step": header.step,
        "state.inner_step": header.state.get("inner_step", header.step),
        "the folder's name": int(named[1]) if named is not None else header.step,
    }
    if any(type(step) is not int or step < 0 or step != header.step for step in steps.values()):
        told = ", ".join(f"{what} says {step!r}" for what, step in steps.items())
        raise UnusableCheckpoint(f"checkpoint {folder} contradicts itself: of the steps done, {told}")
    return header


def check_files(path: str | os.PathLike[str], header: Header, digests: FileDigests) -> None:
    """Compare a checkpoint's files with their digests; all of each file is read, about 1 s per GB.

    Raises:
        UserError: one of them is not what was written.
    """
    for name, known in (header.files or {}).items():
        file = Path(path) / name
        try:
            size = file.stat().st_size
            if size != known["bytes"]:
                raise UnusableCheckpoint(
                    f"checkpoint file {file} is damaged (it has {size:,} bytes, and was written with "
                    f"{known['bytes']:,})"
                )
            if digests.of(file) != known["sha256"]:
                raise UnusableCheckpoint(
                    f"checkpoint file {file} is damaged (its SHA-256 is not the one of what was written)"
                )
        except OSError as error:
            raise UnusableCheckpoint(f"checkpoint file {file} cannot be read ({error})") from error


def _older(content: Any) -> Header | None:
    """The header as version 0.2.0 and older wrote it; None if this is none."""
    if (
        isinstance(content, dict)
        and content.keys() == {"step", "state"}
        and isinstance(content["state"], dict)
    ):
        return Header(content["step"], content["state"], {}, None)
    return None


def _header(file: Path, text: bytes, content: Any) -> Header:
    broken = broken_seal(text)
    if broken is not None:
        raise UnusableCheckpoint(f"checkpoint file {file} is damaged ({broken})")
    if content.get("format") != FORMAT:
        raise UnusableCheckpoint(
            f"checkpoint file {file} has format {content.get('format')!r}, but this version reads {FORMAT}"
        )
    files = content.get("files")
    kinds = {"step": int, "run": dict, "state": dict, "files": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if (
        wrong
        or not isinstance(files, dict)
        or not all(isinstance(one, dict) and one.keys() >= {"bytes", "sha256"} for one in files.values())
        or files.keys() != {TENSORS}
    ):
        raise UnusableCheckpoint(
            f"checkpoint file {file} is damaged (bad fields {', '.join(wrong) or 'files'})"
        )
    return Header(content["step"], content["state"], content["run"], files)


def capture_random_state(device: torch.device | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of Python's, numpy's and torch's global generators, of the CPU and of one CUDA device.

    Args:
        device: where the run computes; other GPUs, which are not its own, are not touched.

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
    if device is not None and device.type == "cuda":
        tensors[RANDOM + "cuda"] = torch.cuda.get_rng_state(device)
    state = {
        "python": {"version": version, "gauss": gauss},
        "numpy": {"position": int(position), "has_gauss": int(has_gauss), "cached": float(cached)},
    }
    return tensors, state


def restore_random_state(
    tensors: Mapping[str, Tensor], state: Mapping[str, Any], device: torch.device | None = None
) -> None:
    """Set the global generators to a captured state; `tensors` may hold a whole checkpoint's tensors.

    A GPU whose state was not captured keeps its own.

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
    if device is not None and device.type == "cuda":
        # Before version 0.3 the states of all GPUs of the machine were saved.
        earlier = f"{RANDOM}cuda.{device.index or 0}"
        captured = tensors.get(RANDOM + "cuda", tensors.get(earlier))
        if captured is not None:
            torch.cuda.set_rng_state(captured, device)


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
