"""The model that scores: loads a run, a saved PRM or a checkpoint of the public code, and fingerprints it."""

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

DEFAULT_MAX_PIXELS = 512 * 512
"""As the public code, which reduces images to 512 pixels on the long side, and as our training."""

_WEIGHTS = (".safetensors", ".pt", ".bin", ".json", ".jinja", ".txt")
_WHOLE_BYTES, _BLOCKS, _BLOCK_BYTES = 16 << 20, 256, 1 << 16


@dataclass(frozen=True)
class Scorer:
    """A model and how its scores are read.

    Attributes:
        prm: in evaluation mode, where it computes.
        gives: `step`, log-odds of each step; `response`, one of the whole, read at the last step (an ORM);
            `likelihood`, the mean log-likelihood of its tokens under the backbone alone.
        fingerprint: tells its weights and settings from others.
    """

    prm: PRM
    gives: str
    fingerprint: str


def scorer_name(config: ScoreConfig) -> str:
    """The name under which scores are stored: the configured one, otherwise the name of the run's folder."""
    if config.name is not None:
        return config.name
    folder = Path(config.model).resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def open_scorer(config: ScoreConfig) -> Scorer:
    """Load the configured model, on its device and in its precision.

    Raises:
        UserError: there is no readable PRM, a setting does not apply to it, or the device does not exist.
    """
    folder = Path(config.model)
    device = _device(config.device)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    if config.scores == "likelihood":
        return Scorer(_backbone(config, folder, dtype).to(device).eval(), "likelihood", fingerprint(folder))
    public = (folder / HEAD_FILE).is_file()
    if public:
        prm, trained_for = _public(config, folder, dtype), None
    else:
        if not (folder / SETTINGS_FILE).is_file() and (folder / "model" / SETTINGS_FILE).is_file():
            folder = folder / "model"
        if config.processor is not None or config.max_pixels is not None:
            raise UserError(
                "processor and max_pixels are for models of the public code; the model in "
                f"{folder} stores its own: leave them null"
            )
        prm = PRM.from_pretrained(folder, dtype=dtype)
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        trained_for = settings.get("training", {}).get("scores")
    as_trained = "response" if trained_for == "response" else "step"
    gives = as_trained if config.scores == "auto" else config.scores
    return Scorer(prm.to(device).eval(), gives, fingerprint(folder))


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits that differ if the model's files differ.

    For a large file, only its size and 256 blocks spread over it are read: training changes nearly every
    number, and a model of many gigabytes does not have to be read twice.
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


def _backbone(config: ScoreConfig, folder: Path, dtype: torch.dtype) -> PRM:
    """A plain checkpoint, as a PRM whose step head is not asked."""
    for place in (folder, folder / "model"):
        if (place / SETTINGS_FILE).is_file():
            raise UserError(
                f"scores=likelihood asks a language model, and {place} was trained as a PRM; give the "
                "checkpoint that it was trained from (model.path of its config.yaml), or scores=auto"
            )
    if not folder.is_dir():
        raise UserError(f"model={folder} does not exist; with scores=likelihood give a checkpoint's folder")
    processor = PRMProcessor.from_pretrained(
        config.processor or folder, readout="step_end", max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS
    )
    return PRM.from_backbone(folder, processor=processor, dtype=dtype)


def _public(config: ScoreConfig, folder: Path, dtype: torch.dtype) -> PRM:
    if config.processor is None:
        raise UserError(
            f"{folder} is a model of the public DreamPRM code, which stores no tokenizer; set "
            "processor to the Qwen2-VL checkpoint that it was trained from"
        )
    processor = PRMProcessor.from_pretrained(
        config.processor, readout="chat_suffix", max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS
    )
    return load_public_checkpoint(folder, processor=processor, dtype=dtype)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no GPU; use device=auto or device=cpu")
    return torch.device(name)
