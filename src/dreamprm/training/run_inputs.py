"""What a run trains on, by content: data files, images, base model and reference runs.

Every checkpoint records it, so that a run does not silently go on with other data than it was started with.
Paths are no part of it: data and models may be moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dreamprm.data.record_table import RecordTable
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.files.content import FileDigests, changed_parts
from dreamprm.models.checkpoint_files import checkpoint_contents
from dreamprm.training.baselines.regmix import proxy_runs
from dreamprm.training.inputs import open_texts
from dreamprm.training.settings import TrainConfig

Files = dict[str, dict[str, str | None]]
"""Digests by the setting that names a file or folder, and by the file's name in that folder (`""`: itself)"""

_DIGITS = 16  # of an image's digest in a checkpoint: 1.6 MB for 100,000 images
_SHOWN = 5  # images named in a message


def input_keys(config: TrainConfig) -> dict[str, str]:
    """The settings that name what a run trains on, with the paths they have."""
    baseline = config.baseline.settings
    named: dict[str, Any] = {
        **{f"data.train[{number}].path": file.path for number, file in enumerate(config.data.train)},
        "data.meta": config.data.meta,
        "data.lm": config.data.lm,
        "model.path": config.model.path,
        "model.config": config.model.config,
        "model.tokenizer": config.model.tokenizer,
        **{f"baseline.{key}": baseline.get(key) for key in ("run", "runs", "reference")},
    }
    return {key: str(path) for key, path in named.items() if path is not None}


def input_files(config: TrainConfig, digests: FileDigests) -> Files:
    """The files of a run; those that do not exist have no digest, as reading them says so."""
    files: Files = {}
    for key, path in input_keys(config).items():
        if key == "baseline.run":
            files[key] = {"domain_weights.jsonl": digests.found(Path(path) / "domain_weights.jsonl")}
        elif key == "baseline.runs":
            logs = ("domain_weights.jsonl", "metrics.jsonl")
            names = [f"{run}/{log}" for run in proxy_runs(path) for log in logs]
            files[key] = {name: digests.found(Path(name)) for name in names} or {"": None}
        elif key == "baseline.reference":
            model = Path(path) / "model"
            folder = model if model.is_dir() else Path(path)
            files[key] = checkpoint_contents(folder, digests) if folder.is_dir() else {"": None}
        elif key in ("model.path", "model.tokenizer"):
            files[key] = _checkpoint_files(path, digests)
        else:
            files[key] = {"": digests.found(path)}
    return files


def _checkpoint_files(path: str, digests: FileDigests) -> dict[str, str | None]:
    held = checkpoint_contents(path, digests)
    # A name on the hub is no part of the content, like a path.
    return held if Path(path).is_dir() else {"": held[path]}


def changed_base(path: str, recorded: dict[str, Any], digests: FileDigests) -> list[str]:
    """What differs between the base model's files and those that a run was started with, in words."""
    return changed_parts(recorded["files"]["model.path"], _checkpoint_files(path, digests))


def input_images(
    config: TrainConfig, records: RecordTable[StepRecord], meta: Sequence[MetaRecord]
) -> list[str]:
    """The paths of all images of a run, each once, in the order of the records."""
    texts = open_texts(config.data, say=lambda line: None, reports=[]) if config.data.lm else []
    others = chain.from_iterable(record.images for record in chain[Any](meta, texts))
    return list(dict.fromkeys(chain(records.image_paths(), others)))


def image_digests(paths: Iterable[str], digests: FileDigests) -> str:
    """The first digits of the images' digests, one after another."""
    return "".join((digest or "-" * _DIGITS)[:_DIGITS] for digest in digests.of_all(paths).values())


def recorded(files: Files, images: str) -> dict[str, Any]:
    """The inputs as a checkpoint records them (JSON values)."""
    return {"files": files, "images": images}


def changed_files(config: TrainConfig, before: Files, now: Files) -> dict[str, str]:
    """By setting, what differs between the files of a checkpoint and those of today, in words."""
    paths, told = input_keys(config), {}
    for key in sorted(before.keys() | now.keys()):
        if key not in now:
            told[key] = f"{key} is no longer given"
        elif key not in before:
            told[key] = f"{key}={paths[key]} is new"
        elif now[key] != before[key] and set(now[key].values()) != {None}:
            parts = [part for part in changed_parts(before[key], now[key]) if not part.startswith(" ")]
            told[key] = f"{key}={paths[key]}" + (f": {', '.join(parts)}" if parts else " has other content")
    return told


def changed_images(before: str, paths: Sequence[str], now: str) -> list[str]:
    """What differs between the images of a checkpoint and those of today, in words."""
    old, new = (
        [digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS)] for digits in (before, now)
    )
    if len(old) == len(new):
        different = [path for path, was, is_ in zip(paths, old, new, strict=True) if was != is_]
    else:
        known = set(old)
        different = [path for path, is_ in zip(paths, new, strict=True) if is_ not in known]
    told = [] if len(old) == len(new) else [f"there are {len(new):,} images, and were {len(old):,}"]
    told += [f"image {path} has other content" for path in different[:_SHOWN]]
    if len(different) > _SHOWN:
        told.append(f"and {len(different) - _SHOWN:,} other images have")
    return told
