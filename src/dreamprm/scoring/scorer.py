"""The model that scores: read from a run, a saved PRM or a checkpoint of the public code, and told apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamprm.config.errors import UserError
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.public_checkpoint import HEAD_FILE, load_public_checkpoint
from dreamprm.models.storage import SETTINGS_FILE
from dreamprm.scoring.settings import ScoreConfig

PUBLIC_MAX_PIXELS = 512 * 512
"""The public code reduces images to 512 pixels on the long side."""

_WEIGHTS = (".safetensors", ".pt", ".bin", ".json", ".jinja", ".txt")
_WHOLE_BYTES, _BLOCKS, _BLOCK_BYTES = 16 << 20, 256, 1 << 16


@dataclass(frozen=True)
class Scorer:
    """A model and how its scores are to be taken.

    Attributes:
        prm: in evaluation mode, where it computes.
        by_response: whether it gives one score a response, read at the last step (an ORM).
        fingerprint: tells its weights and settings from others.
    """

    prm: PRM
    by_response: bool
    fingerprint: str


def scorer_name(config: ScoreConfig) -> str:
    """The name under which the scores stand: the configured one, else the run's folder's."""
    if config.name is not None:
        return config.name
    folder = Path(config.model).resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def open_scorer(config: ScoreConfig) -> Scorer:
    """The model of `model`, on its device, in its precision.

    Raises:
        UserError: no PRM there, one that cannot be read, settings that do not belong to it, no such device.
    """
    folder = Path(config.model)
    device = _device(config.device)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    public = (folder / HEAD_FILE).is_file()
    if public:
        prm, trained_for = _public(config, folder, dtype), None
    else:
        if not (folder / SETTINGS_FILE).is_file() and (folder / "model" / SETTINGS_FILE).is_file():
            folder = folder / "model"
        if config.processor is not None or config.max_pixels is not None:
            raise UserError(
                "processor and max_pixels are for models of the public code; the model in "
                f"{folder} stores its own, leave them null"
            )
        prm = PRM.from_pretrained(folder, dtype=dtype)
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        trained_for = settings.get("training", {}).get("scores")
    by_response = trained_for == "response" if config.scores == "auto" else config.scores == "response"
    return Scorer(prm.to(device).eval(), by_response, fingerprint(folder))


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits that differ where the model's files do.

    Of a large file its size and 256 blocks spread over it are read: training changes nearly every number, and
    a model of many gigabytes need not be read twice.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _WEIGHTS and path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                digest.update(file.read())
                continue
            for block in range(_BLOCKS):
                file.seek(block * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()[:16]


def _public(config: ScoreConfig, folder: Path, dtype: torch.dtype) -> PRM:
    if config.processor is None:
        raise UserError(
            f"{folder} is a model of the public DreamPRM code, which stores no tokenizer; give "
            "processor=, the Qwen2-VL checkpoint that it was trained from"
        )
    processor = PRMProcessor.from_pretrained(
        config.processor, readout="chat_suffix", max_pixels=config.max_pixels or PUBLIC_MAX_PIXELS
    )
    return load_public_checkpoint(folder, processor=processor, dtype=dtype)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no GPU; set device=auto or cpu")
    return torch.device(name)
