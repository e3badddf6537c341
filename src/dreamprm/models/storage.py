"""A PRM on disk: one folder that is also a plain Qwen-VL checkpoint, plus head, settings, processor and card.

config.json, model*.safetensors     the backbone, readable by transformers alone
head.safetensors                    weight (1, width) and bias (1,)
prm.json                            format, head, training settings, digests of all files but the card
tokenizer and image-processor files, prm_processor.json
README.md                           the model card

With adapters alone, in place of the backbone's files:

adapter_config.json, adapter_model.safetensors    peft's
trained.safetensors                 what else of the backbone was trained, if anything
prm.json                            also says of which base model they are: its place and digests
"""

import os
from collections.abc import Mapping, Sequence
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
from dreamprm.models.checkpoint_files import backbone_contents
from dreamprm.models.frozen_weights import round_frozen, stores_frozen
from dreamprm.models.lora import has_adapters, merge_saved_adapters, plain_state, save_adapters
from dreamprm.models.processing import PRMProcessor

FORMAT = 1
SETTINGS_FILE = "prm.json"
HEAD_FILE = "head.safetensors"
TRAINED_FILE = "trained.safetensors"


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
    adapter_of: str | Path | None = None,
    digests: FileDigests | None = None,
) -> None:
    """Writes the folder completely or not at all, replacing any PRM that is already there.

    Args:
        folder: new, empty, or containing an earlier PRM.
        parts, head: the model's.
        card: the text of README.md.
        training: plain settings (JSON values) to keep in `prm.json`.
        adapter_of, digests: as in `PRM.save_pretrained`.

    Raises:
        UserError: the folder contains something else, or the base model of adapters has no files.
    """
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / SETTINGS_FILE).exists())
    ):
        raise UserError(f"{folder} exists and is not a saved PRM; give a new folder or empty this one")
    adapted = {} if adapter_of is None else {"adapter": _adapter_facts(parts, folder, adapter_of, digests)}
    with atomic_folder(folder) as new:
        if adapted:
            others = save_adapters(parts.backbone, new, base=adapted["adapter"]["base"])
            adapted["adapter"]["trained"] = sorted(others)
            if others:
                save_file(others, new / TRAINED_FILE)
        else:
            parts.backbone.save_pretrained(new, state_dict=plain_state(parts.backbone))
        save_file(
            {name: value.detach().contiguous() for name, value in head.state_dict().items()},
            new / HEAD_FILE,
        )
        parts.processor.save_pretrained(new)
        files = FileDigests().of_all(sorted(path for path in new.iterdir() if path.is_file()))
        settings = {
            "format": FORMAT,
            "head": parts.head_kind,
            **adapted,
            "training": dict(training),
            "files": {Path(path).name: digest for path, digest in files.items()},
        }
        (new / SETTINGS_FILE).write_text(sealed(settings, indent=2) + "\n", encoding="utf-8")
        (new / "README.md").write_text(card, encoding="utf-8")


def _adapter_facts(
    parts: PRMParts, folder: Path, base: str | Path, digests: FileDigests | None
) -> dict[str, Any]:
    """What `prm.json` says of adapters: the place of their base model, and what it is."""
    if not has_adapters(parts.backbone):
        raise UserError("the model has no adapters that could be saved alone; leave adapter_of out")
    files = backbone_contents(base, digests or FileDigests())
    if not files:
        raise UserError(f"adapter_of={base} is no checkpoint: neither a folder nor a hub name in the cache")
    place = str(base)
    if Path(base).is_dir():
        place = Path(os.path.relpath(base, folder)).as_posix()
    frozen = "bf16" if stores_frozen(parts.backbone) else "float32"
    return {"base": place, "base_files": files, "frozen_dtype": frozen}


def load_parts(
    folder: str | Path,
    *,
    head: str | None,
    readout: str | None,
    base: str | Path | None,
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
    adapter = settings.get("adapter")
    if adapter is not None:
        backbone = _with_adapters(folder, adapter, base, attn_implementation=attn_implementation, dtype=dtype)
    elif base is not None:
        raise UserError(f"base={base} is for saved adapters; the model in {folder} is whole: leave it out")
    else:
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


def _with_adapters(
    folder: Path, adapter: Any, given: str | Path | None, *, attn_implementation: str, dtype: torch.dtype
) -> PreTrainedModel:
    """The base model with the adapters of a folder merged in; `given`: where it is, if not where it was."""
    known = {
        "base": "a text",
        "base_files": "an object of texts",
        "frozen_dtype": "a text",
        "trained": "a list of texts",
    }
    try:
        require_fields(adapter, known, within="adapter")
    except ValueError as error:
        raise UserError(
            f"{folder / SETTINGS_FILE} does not say of which base model its adapters are: {error}"
        ) from error
    base = str(given) if given is not None else adapter["base"]
    if given is None and (folder / base).is_dir():
        base = os.path.normpath(folder / base)
    elsewhere = "give its folder or hub name (base=...)"
    # Merged in float32 or wider, then rounded: as the merged model is when it is read.
    wide = torch.promote_types(dtype, torch.float32)
    try:
        backbone = make_backbone(base, attn_implementation=attn_implementation, dtype=wide)
    except UserError as error:
        raise UserError(
            f"{folder} holds adapters of a base model that cannot be read: {error}; {elsewhere}"
        ) from error
    changed = changed_parts(adapter["base_files"], backbone_contents(base, FileDigests()))
    if changed:
        raise UserError(
            f"{base} is not the base model that the adapters in {folder} were trained on: "
            f"{'; '.join(changed)}; {elsewhere}"
        )
    if adapter["frozen_dtype"] == "bf16":
        round_frozen(backbone)
    if adapter["trained"]:
        _load_trained(backbone, adapter["trained"], folder / TRAINED_FILE)
    merge_saved_adapters(backbone, folder)
    for parameter in backbone.parameters():
        parameter.data = parameter.data.to(dtype)  # not the buffers, which are wider than they
    return backbone


@torch.no_grad()
def _load_trained(backbone: PreTrainedModel, names: Sequence[str], path: Path) -> None:
    """Copy the parameters in a file, which has to hold these, by their names in the backbone."""
    own = dict(backbone.named_parameters())
    try:
        stored = load_file(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot read what was trained from {path}: {error}") from error
    if stored.keys() != set(names):
        raise UserError(f"{path} does not hold what {SETTINGS_FILE} says was trained; copy the folder again")
    for name, value in stored.items():
        if name not in own or own[name].shape != value.shape:  # copy_ would spread it
            raise UserError(f"{path} does not fit the base model: {name} has the shape {tuple(value.shape)}")
        own[name].copy_(value)


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
