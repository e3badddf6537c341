"""Opens what scores: a run, a saved PRM, a checkpoint of the public code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests
from dreamprm.models.candidate_scoring import PassLimits
from dreamprm.models.checkpoint_files import checkpoint_contents
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.public_checkpoint import HEAD_FILE, load_public_checkpoint
from dreamprm.models.storage import SETTINGS_FILE, changed_since_saved, read_settings
from dreamprm.scorers.local import LocalScorer
from dreamprm.scorers.settings import ScorerSettings

DEFAULT_MAX_PIXELS = 512 * 512
"""As the public code, which reduces images to 512 pixels on the long side, and as our training."""


def scorer_name(config: ScorerSettings, given: str | None = None) -> str:
    """The name under which scores are stored: the given one, otherwise the name of the run's folder."""
    if given is not None:
        return given
    folder = Path(config.model).resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def open_scorer(config: ScorerSettings, digests: FileDigests | None = None) -> LocalScorer:
    """Load the configured model, on its device and in its precision.

    Args:
        config: which one, and how.
        digests: of the running command; None: the files are read anew.

    Raises:
        UserError: there is no readable PRM, a setting does not apply to it, or the device does not exist.
    """
    digests = digests or FileDigests()
    folder = Path(config.model)
    device = _device(config.device)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    gives, public = config.scores, (folder / HEAD_FILE).is_file()
    if not (public or gives == "likelihood"):
        folder = _saved_prm(config, folder)
    files = _files(config, folder, digests)
    ours = not (public or gives == "likelihood")
    if config.base is not None and not ours:
        raise UserError(f"base={config.base} is for a PRM saved as adapters alone: leave it null")
    changed = changed_since_saved(folder, digests) if ours else None
    if gives == "likelihood":
        prm = _backbone(config, folder, dtype)
    elif public:
        prm = _public(config, folder, dtype)
    else:
        prm = PRM.from_pretrained(folder, base=config.base, dtype=dtype)
    if gives == "auto":
        gives = "response" if _trained_for(folder, public=public) == "response" else "step"
    _files(config, folder, digests)  # raises if they changed while they were loaded
    return LocalScorer(
        prm.to(device).eval(),
        gives,
        files,
        changed=changed,
        limits=PassLimits(config.batch_size, config.batch_tokens),
        settings={
            "precision": config.precision,
            "max_pixels": config.max_pixels,
            "image_ground": config.image_ground,
        },
    )


def _saved_prm(config: ScorerSettings, folder: Path) -> Path:
    """The folder of a PRM of ours, given itself or its run's folder."""
    if not (folder / SETTINGS_FILE).is_file() and (folder / "model" / SETTINGS_FILE).is_file():
        folder = folder / "model"
    if config.processor is not None or config.max_pixels is not None:
        raise UserError(
            "processor and max_pixels are for models of the public code; the model in "
            f"{folder} stores its own: leave them null"
        )
    if config.image_ground is not None:
        raise UserError(
            "image_ground is for models of the public code, and scores=likelihood; the model in "
            f"{folder} stores the one it was trained with: leave it null"
        )
    return folder


def _files(config: ScorerSettings, folder: Path, digests: FileDigests) -> dict[str, dict[str, str | None]]:
    """What the model is loaded from; nothing for a folder that does not exist, which loading refuses."""
    sources = {"model": folder if folder.is_dir() else None, "processor": config.processor}
    return {
        what: checkpoint_contents(source, digests) for what, source in sources.items() if source is not None
    }


def _trained_for(folder: Path, *, public: bool) -> Any:
    """What a model's scores were trained to be, as it says itself; None if it does not."""
    if public:
        return None
    training = read_settings(folder).get("training")
    return training.get("scores") if isinstance(training, dict) else None


def _backbone(config: ScorerSettings, folder: Path, dtype: torch.dtype) -> PRM:
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
        config.processor or folder,
        readout="step_end",
        max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS,
        **_ground(config),
    )
    return PRM.from_backbone(folder, processor=processor, dtype=dtype)


def _public(config: ScorerSettings, folder: Path, dtype: torch.dtype) -> PRM:
    if config.processor is None:
        raise UserError(
            f"{folder} is a model of the public DreamPRM code, which stores no tokenizer; set "
            "processor to the Qwen2-VL checkpoint that it was trained from"
        )
    processor = PRMProcessor.from_pretrained(
        config.processor,
        readout="chat_suffix",
        max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS,
        **_ground(config),
    )
    return load_public_checkpoint(folder, processor=processor, dtype=dtype)


def _ground(config: ScorerSettings) -> dict[str, Any]:
    return {} if config.image_ground is None else {"image_ground": config.image_ground}


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no GPU; use device=auto or device=cpu")
    return torch.device(name)
