"""Which model a checkpoint is: the digests of the files that it is loaded from, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dreamprm.files.content import FileDigests

_SUFFIXES = frozenset(
    (".safetensors", ".pt", ".pth", ".bin", ".gguf", ".json", ".jinja", ".txt", ".model", ".tiktoken")
)
_WEIGHTS = frozenset((".safetensors", ".pt", ".pth", ".bin", ".gguf"))
# What a trainer leaves next to a checkpoint to resume from, and nothing is loaded from.
_OF_A_TRAINER = frozenset(
    ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "trainer_state.json", "training_args.bin")
)
_FOLDERS = ("", "base_model", "additional_chat_templates")  # base_model: of the public DreamPRM code


def checkpoint_contents(source: str | Path, digests: FileDigests) -> dict[str, str | None]:
    """The files of a checkpoint with their digests: the same wherever its folder is moved or copied.

    All of each file is read, about 1 s per GB and core; loading the model then finds it in the system's
    cache. Not included: model cards, and what trainers leave there to resume from.

    Args:
        source: a checkpoint's folder, or a name on the hub, which is known by the revision that is loaded.
        digests: of the running command.

    Returns:
        Digests by the file's name in the folder; for a name on the hub, one entry.
    """
    folder = Path(source)
    if not folder.is_dir():
        return {str(source): _hub_revision(str(source))}
    found = digests.of_all(_files(folder))
    return {Path(path).relative_to(folder).as_posix(): digest for path, digest in found.items()}


def backbone_contents(source: str | Path, digests: FileDigests) -> dict[str, str | None]:
    """Those files of a checkpoint that decide what its backbone computes: its config and its weights.

    Args:
        source: a checkpoint's folder; or a name on the hub, of which the files in the local cache are read.
        digests: of the running command.

    Returns:
        Digests by the file's name; none if there is no such checkpoint.
    """
    folder = Path(source) if Path(source).is_dir() else _hub_snapshot(str(source))
    found = {} if folder is None else checkpoint_contents(folder, digests)
    return {name: digest for name, digest in found.items() if _is_of_backbone(name)}


def _is_of_backbone(name: str) -> bool:
    weights = Path(name).suffix.lower() in _WEIGHTS or name.endswith(".index.json")
    return name == "config.json" or (weights and "/" not in name)


def _files(folder: Path) -> Iterator[Path]:
    for inside in _FOLDERS:
        place = folder / inside
        if place.is_dir():
            for path in sorted(place.iterdir()):
                leftover = path.name in _OF_A_TRAINER or path.name.startswith(("rng_state", "."))
                if path.suffix.lower() in _SUFFIXES and not leftover and path.is_file():
                    yield path


def _hub_revision(name: str) -> str | None:
    """The commit that a hub name stands for in the local cache; None if it is no name on the hub."""
    snapshot = _hub_snapshot(name)
    if snapshot is None:
        return None
    from transformers.utils.hub import extract_commit_hash

    return extract_commit_hash(str(snapshot / "config.json"), None)


def _hub_snapshot(name: str) -> Path | None:
    """The folder in the local cache that a hub name stands for; None if it is no name on the hub."""
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        return None  # a folder that does not exist
    from transformers.utils.hub import cached_file  # only for names: it takes a second

    try:
        resolved = cached_file(name, "config.json")
    except (OSError, ValueError):
        return None
    return Path(str(resolved)).parent
