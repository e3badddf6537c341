"""Every kind of damage to a checkpoint, and what is said of it.

experiments/reliability/damage.py does it to the checkpoints of a real run. A damage is done to a checkpoint's
folder, given a folder of whole ones: `checkpoints/step-000004` and `step-000008` of its run,
`other/step-000008` of a run with seed 2, and `other data/step-000008`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamprm.files.sealed_json import sealed

Damage = Callable[[Path, Path], object]


def flip(name: str, place: float, bit: int = 0) -> Damage:
    """A bit of a file, at this share of its length."""

    def damage(path: Path, saved: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[min(int(len(content) * place), len(content) - 1)] ^= 1 << bit
        (path / name).write_bytes(content)

    return damage


def cut(name: str, length: int | None) -> Damage:
    """What `[:length]` leaves of a file."""
    return lambda path, saved: (path / name).write_bytes((path / name).read_bytes()[:length])


def missing(name: str) -> Damage:
    """A file less."""
    return lambda path, saved: (path / name).unlink()


def folder_for(name: str) -> Damage:
    """A folder in a file's place."""

    def damage(path: Path, saved: Path) -> None:
        (path / name).unlink()
        (path / name).mkdir()

    return damage


def edited(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """state.json as somebody leaves it who edits it by hand."""

    def damage(path: Path, saved: Path) -> None:
        content = json.loads((path / "state.json").read_text())
        change(content)
        (path / "state.json").write_text(json.dumps(content, indent=1))

    return damage


def written(**fields: Any) -> Damage:
    """A checkpoint that was written with this state: its digests are right."""

    def damage(path: Path, saved: Path) -> None:
        content = json.loads((path / "state.json").read_text())
        del content["sha256"]
        content["state"].update(fields)
        (path / "state.json").write_text(sealed(content))

    return damage


def replaced_by(other: str) -> Damage:
    """Another checkpoint under this name."""

    def damage(path: Path, saved: Path) -> None:
        shutil.rmtree(path)
        shutil.copytree(saved / other, path)

    return damage


def file_of(other: str, name: str) -> Damage:
    """A file of another checkpoint."""
    return lambda path, saved: shutil.copy(saved / other / name, path / name)


def surplus(path: Path, saved: Path) -> None:
    """A file more."""
    (path / "more.safetensors").write_bytes(b"")


def a_file_for_the_folder(path: Path, saved: Path) -> None:
    """A file in the checkpoint's place."""
    shutil.rmtree(path)
    path.write_text("")


def without_digests(path: Path, saved: Path) -> None:
    """As version 0.2.0 wrote it."""
    content = json.loads((path / "state.json").read_text())
    del content["state"]["inputs"]
    (path / "state.json").write_text(json.dumps({key: content[key] for key in ("step", "state")}))


DAMAGE: dict[str, tuple[Damage, str]] = {
    "a bit of a tensor": (flip("tensors.safetensors", 0.99), "SHA-256"),
    "a bit of the tensors' header": (flip("tensors.safetensors", 0.1), "SHA-256"),
    "a bit of the state": (flip("state.json", 0.5), "is damaged"),
    "a bit of the first blank": (flip("state.json", 0.0), "is damaged"),
    "a bit of the digest": (flip("state.json", 0.99), "is damaged"),
    "tensors cut": (cut("tensors.safetensors", -1), "written with"),
    "tensors emptied": (cut("tensors.safetensors", 0), "it has 0 bytes"),
    "state cut": (cut("state.json", -30), "is damaged"),
    "state emptied": (cut("state.json", 0), "is damaged"),
    "no tensors": (missing("tensors.safetensors"), "tensors.safetensors is missing"),
    "no state": (missing("state.json"), "state.json is missing"),
    "a folder for the tensors": (folder_for("tensors.safetensors"), "is not a file"),
    "a folder for the state": (folder_for("state.json"), "is not a file"),
    "a file more": (surplus, "more.safetensors"),
    "a file for the folder": (a_file_for_the_folder, "state.json is missing"),
    "tensors of the other step": (file_of("checkpoints/step-000004", "tensors.safetensors"), "SHA-256"),
    "state of the other step": (file_of("checkpoints/step-000004", "state.json"), "contradicts itself"),
    "the other step under this name": (replaced_by("checkpoints/step-000004"), "the folder's name says 8"),
    "of other settings": (replaced_by("other/step-000008"), "is of another run (seed: 2 there, 1 now)"),
    "of other data": (replaced_by("other data/step-000008"), "trained on other inputs"),
    "edited counters": (edited(lambda one: one["state"].update(upper_step=1)), "its digest is not"),
    "an edited step": (edited(lambda one: one.update(step=9)), "its digest is not"),
    "another format": (edited(lambda one: one.update(format=3)), "its digest is not"),
    "a key less": (edited(lambda one: one.pop("run")), "its digest is not"),
    "no digest": (edited(lambda one: one.pop("sha256")), "does not end with its digest"),
    "another type": (edited(lambda one: one.update(state=[])), "its digest is not"),
    "no format": (edited(lambda one: (one.pop("format"), one.pop("sha256"))), "does not end with its digest"),
    "of an older version": (without_digests, "does not say what its data files"),
    "another inner step, written so": (written(inner_step=6), "state.inner_step says 6"),
    "a step of another type, written so": (written(inner_step=8.0), "state.inner_step says 8.0"),
}
