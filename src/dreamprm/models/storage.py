"""A PRM on disk: one folder that is also a plain Qwen-VL checkpoint, plus head, settings, processor and card.

config.json, model*.safetensors     the backbone, readable by transformers alone
head.safetensors                    weight (1, width) and bias (1,)
prm.json                            format, head, training settings, digests of all files but the card
tokenizer and image-processor files, prm_processor.json
README.md                           the model card
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from dreamprm.config.choices import HEADS
from dreamprm.config.errors import UserError
from dreamprm.files.append_only import require_fields
from dreamprm.files.atomic import atomic_folder
from dreamprm.files.content import FileDigests, changed_parts
from dreamprm.files.json_values import parse_json
from dreamprm.files.sealed_json import broken_seal, sealed
from dreamprm.models.backbone import make_backbone
from dreamprm.models.processing import PRMProcessor

FORMAT = 1
SETTINGS_FILE = "prm.json"
HEAD_FILE = "head.safetensors"


@dataclass(frozen=True)
class PRMParts:
    """The contents of a folder, from which the PRM is assembled; `load_head` reads the head's weights."""

    backbone: PreTrainedModel
    processor: PRMProcessor
    head_kind: str


def save_parts(
    folder: str | Path,
    parts: PRMParts,
    head: nn.Module,
    *,
    card: str,
    training: Mapping[str, Any],
) -> None:
    """Writes the folder completely or not at all, replacing any PRM that is already there.

    Args:
        folder: new, empty, or containing an earlier PRM.
        parts, head: the model's.
        card: the text of README.md.
        training: plain settings (JSON values) to keep in `prm.json`.

    Raises:
        UserError: the folder contains something else.
    """
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / SETTINGS_FILE).exists())
    ):
        raise UserError(f"{folder} exists and is not a saved PRM; give a new folder or empty this one")
    with atomic_folder(folder) as new:
        parts.backbone.save_pretrained(new)
        save_file(
            {name: value.detach().contiguous() for name, value in head.state_dict().items()},
            new / HEAD_FILE,
        )
        parts.processor.save_pretrained(new)
        files = FileDigests().of_all(sorted(path for path in new.iterdir() if path.is_file()))
        settings = {
            "format": FORMAT,
            "head": parts.head_kind,
            "training": dict(training),
            "files": {Path(path).name: digest for path, digest in files.items()},
        }
        (new / SETTINGS_FILE).write_text(sealed(settings, indent=2) + "\n", encoding="utf-8")
        (new / "README.md").write_text(card, encoding="utf-8")


def load_parts(
    folder: str | Path,
    *,
    head: str | None,
    readout: str | None,
    attn_implementation: str,
    dtype: torch.dtype,
) -> PRMParts:
    """Reads the parts of a PRM that `save_parts` wrote; arguments and errors as in `PRM.from_pretrained`."""
    folder = Path(folder)
    path = folder / SETTINGS_FILE
    if not path.exists():
        raise UserError(
            f"{folder} holds no saved PRM ({SETTINGS_FILE} is missing); for a plain Qwen2-VL checkpoint use "
            "PRM.from_backbone, for a public DreamPRM checkpoint load_public_checkpoint"
        )
    settings = read_settings(folder)
    if settings.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {settings.get('format')}, but this version reads {FORMAT}; upgrade dreamprm"
        )
    if settings.get("head") not in HEADS:
        raise UserError(
            f"{path} names the head {settings.get('head')!r}; use one of {', '.join(HEADS)}, as trained"
        )
    processor = PRMProcessor.from_pretrained(folder)
    for name, given, stored in (("head", head, settings["head"]), ("readout", readout, processor.readout)):
        if given is not None and given != stored:
            raise UserError(f"{name} is {given!r}, but the model in {folder} was trained with {stored!r}")
    backbone = make_backbone(folder, attn_implementation=attn_implementation, dtype=dtype)
    return PRMParts(backbone, processor, settings["head"])


def read_settings(folder: Path) -> dict[str, Any]:
    """What a saved PRM's `prm.json` holds; of which, only that it is a JSON object is checked.

    Raises:
        UserError: it is not one, or cannot be read.
    """
    path = folder / SETTINGS_FILE
    try:
        settings = parse_json(path.read_bytes())
        require_fields(settings, {})
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not the settings file of a saved PRM: {error}") from error
    return dict(settings)


def changed_since_saved(folder: Path, digests: FileDigests) -> str | None:
    """In words, how a PRM's files differ from those that `save_parts` wrote; None if they do not.

    Files that were damaged, replaced, edited or removed may still load, and score otherwise. None too for a
    PRM of an older version, which does not say what was written. All of each file is read, about 1 s per GB.
    """
    try:
        text = (folder / SETTINGS_FILE).read_bytes()
        known = parse_json(text)["files"]
    except (OSError, ValueError, TypeError, KeyError):
        return None  # or loading refuses it
    told = [] if (broken := broken_seal(text)) is None else [f"{SETTINGS_FILE} was changed ({broken})"]
    if isinstance(known, dict):
        told += changed_parts(known, {name: digests.found(folder / name) for name in known})
    if not told:
        return None
    return (
        f"{folder} is not the model that was saved there: {'; '.join(told)}. Copy the whole folder again, "
        f"or, if it was changed on purpose, remove `files` from {SETTINGS_FILE}"
    )


def load_head(head: nn.Module, folder: str | Path) -> None:
    """Load the folder's weights into a head of the kind that `load_parts` returned.

    Raises:
        UserError: the weights are missing, broken or of another shape.
    """
    path = Path(folder) / HEAD_FILE
    try:
        stored = load_file(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot read the head from {path}: {error}") from error
    own = head.state_dict()
    wrong = [f"{name} is missing" for name in own.keys() - stored.keys()]
    wrong += [f"{name} is surplus" for name in stored.keys() - own.keys()]
    wrong += [
        f"{name} has the shape {tuple(stored[name].shape)}, the model needs {tuple(own[name].shape)}"
        for name in own.keys() & stored.keys()
        if stored[name].shape != own[name].shape
    ]
    if wrong:
        raise UserError(
            f"cannot read the head from {path}: {'; '.join(sorted(wrong))}; save the model again, or copy "
            "its whole folder"
        )
    head.load_state_dict(stored)
