"""A PRM on disk: one folder that is also a plain Qwen-VL checkpoint, plus head, settings, processor and card.

config.json, model*.safetensors     the backbone, readable by transformers alone
head.safetensors                    weight (1, width) and bias (1,)
prm.json                            format, head, training settings
tokenizer and image-processor files, prm_processor.json
README.md                           the model card
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import atomic_folder
from dreamprm.models.backbone import make_backbone
from dreamprm.models.model_card import model_card
from dreamprm.models.processing import PRMProcessor

if TYPE_CHECKING:
    from dreamprm.models.prm import PRM

FORMAT = 1
SETTINGS_FILE = "prm.json"
HEAD_FILE = "head.safetensors"


def save_prm(prm: "PRM", folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
    """Writes the folder whole or not at all; a PRM that is already there is replaced.

    Args:
        prm: the model.
        folder: new, empty, or holding an earlier PRM.
        training: plain settings (JSON values) to keep in `prm.json` and print in the card, such as the
            aggregation, estimator and data.

    Raises:
        UserError: the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / SETTINGS_FILE).exists())
    ):
        raise UserError(f"{folder} exists and is not a saved PRM; give a new folder or empty this one")
    with atomic_folder(folder) as new:
        prm.backbone.save_pretrained(new)
        save_file(
            {name: value.detach().contiguous() for name, value in prm.head.state_dict().items()},
            new / HEAD_FILE,
        )
        prm.processor.save_pretrained(new)
        settings = {"format": FORMAT, "head": prm.head_kind, "training": dict(training or {})}
        (new / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (new / "README.md").write_text(model_card(prm, training or {}), encoding="utf-8")


def load_prm(
    folder: str | Path,
    *,
    head: str | None = None,
    readout: str | None = None,
    attn_implementation: str = "sdpa",
    dtype: torch.dtype = torch.float32,
) -> "PRM":
    """Reads a PRM that `save_prm` wrote.

    Args:
        folder: the folder.
        head, readout: expected values; None takes what is stored. They decide what the weights mean.
        attn_implementation: as for `make_backbone`; not stored, since it changes no result.
        dtype: of the weights in memory.

    Raises:
        UserError: no or a broken PRM there, a newer format, or a head or readout other than the stored one.
    """
    from dreamprm.models.prm import PRM

    folder = Path(folder)
    path = folder / SETTINGS_FILE
    if not path.exists():
        raise UserError(
            f"{folder} holds no saved PRM ({SETTINGS_FILE} is missing); for a plain Qwen2-VL checkpoint use "
            "PRM.from_backbone, for a public DreamPRM one load_public_checkpoint"
        )
    try:
        settings = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not the settings file of a saved PRM: {error}") from error
    if settings.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {settings.get('format')}, this version reads {FORMAT}; upgrade dreamprm"
        )
    processor = PRMProcessor.from_pretrained(folder)
    for name, given, stored in (("head", head, settings["head"]), ("readout", readout, processor.readout)):
        if given is not None and given != stored:
            raise UserError(f"{name} is {given!r}, but the model in {folder} was trained with {stored!r}")
    backbone = make_backbone(folder, attn_implementation=attn_implementation, dtype=dtype)
    prm = PRM(backbone, processor, head=settings["head"])
    try:
        prm.head.load_state_dict(load_file(folder / HEAD_FILE))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot read the head from {folder / HEAD_FILE}: {error}") from error
    return prm.eval()
