"""Opens what scores: a PRM of ours, one of another project, a likelihood, a critic, a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests
from dreamprm.models.candidate_scoring import PassLimits
from dreamprm.models.checkpoint_files import checkpoint_contents
from dreamprm.models.export_readme import EXPORT_FILE
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor
from dreamprm.models.public_checkpoint import HEAD_FILE, load_public_checkpoint
from dreamprm.models.storage import SETTINGS_FILE, changed_since_saved, read_settings
from dreamprm.scorers.base import StepScorer
from dreamprm.scorers.critic import CriticScorer
from dreamprm.scorers.local import LocalScorer
from dreamprm.scorers.published import LAYOUTS, open_published, recognised_layout
from dreamprm.scorers.server import ServerScorer
from dreamprm.scorers.settings import ScorerSettings

DEFAULT_MAX_PIXELS = 512 * 512
"""As the public code, which reduces images to 512 pixels on the long side, and as our training."""


def scorer_name(config: ScorerSettings, given: str | None = None) -> str:
    """The name under which scores are stored: the given one, otherwise the name of the run's folder, of the
    critic's model, or of the server."""
    if given is not None:
        return given
    if config.model is None:
        named = config.server or str(config.critic.settings.get("model") or config.critic.name)
        return re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"^https?://", "", named)).strip("-.") or "scorer"
    folder = Path(config.model).resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def open_scorer(
    config: ScorerSettings,
    digests: FileDigests | None = None,
    *,
    replies: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> StepScorer:
    """The configured scorer; a model is loaded, on its device and in its precision.

    Args:
        config: which one, and how.
        digests: of the running command; None: the files are read anew.
        replies: where a critic's replies are kept; None: nowhere.
        say: receives a line on what a critic was asked, when it is closed.

    Raises:
        UserError: there is no readable model, a setting does not apply to it, the device does not exist, or
            there is no access to the critic or server.
    """
    digests = digests or FileDigests()
    if config.critic.name is not None:
        _refuse(config, "a critic")
        return CriticScorer(config.critic, replies=replies, say=say, digests=digests)
    if config.server is not None:
        _refuse(config, "a server")
        return ServerScorer(config.server)
    return open_local_scorer(config, digests)


def open_local_scorer(config: ScorerSettings, digests: FileDigests) -> LocalScorer:
    """The configured model.

    Raises:
        UserError: as `open_scorer`.
    """
    assert config.model is not None
    folder = Path(config.model)
    device = _device(config.device)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    gives, public = config.scores, (folder / HEAD_FILE).is_file()
    layout = _layout(config, folder)
    if not (public or layout or gives == "likelihood"):
        folder = _saved_prm(config, folder)
    files = _files(config, folder, digests)
    ours = not (public or layout or gives == "likelihood")
    if config.base is not None and not ours:
        raise UserError(f"base={config.base} is for a PRM saved as adapters alone: leave it null")
    changed = changed_since_saved(folder, digests) if ours else None
    prm: PRM
    if gives == "likelihood":
        prm = _backbone(config, folder, dtype)
    elif layout:
        prm = open_published(
            folder,
            LAYOUTS.build(layout, **config.layout.settings),
            dtype=dtype,
            processor=config.processor,
            max_pixels=config.max_pixels,
            **_ground(config),
        )
    elif public:
        prm = _public(config, folder, dtype)
    else:
        prm = PRM.from_pretrained(folder, base=config.base, dtype=dtype)
    if gives == "auto":
        gives = "step" if layout or _trained_for(folder, public=public) != "response" else "response"
    _files(config, folder, digests)  # raises if they changed while they were loaded
    settings: dict[str, Any] = {
        "precision": config.precision,
        "max_pixels": config.max_pixels,
        "image_ground": config.image_ground,
    }
    if layout:
        settings["layout"] = {"name": layout, **LAYOUTS.settings(layout), **config.layout.settings}
    return LocalScorer(
        prm.to(device).eval(),
        gives,
        files,
        changed=changed,
        limits=PassLimits(config.batch_size, config.batch_tokens),
        settings=settings,
    )


def _refuse(config: ScorerSettings, what: str) -> None:
    """Refuse settings of a local model."""
    defaults = ScorerSettings()
    names = ("base", "scores", "processor", "max_pixels", "image_ground", "precision", "device")
    given = [name for name in names if getattr(config, name) != getattr(defaults, name)]
    if given:
        raise UserError(f"{', '.join(given)}: for a model that computes here, not for {what}; leave out")


def _layout(config: ScorerSettings, folder: Path) -> str | None:
    """The layout of another project's PRM; None: it is none of these."""
    if (folder / EXPORT_FILE).is_file():
        raise UserError(
            f"{folder} was exported for other software, and is no PRM of ours any more; give the run that it "
            "came from"
        )
    if config.scores == "likelihood" or (folder / HEAD_FILE).is_file():
        if config.layout.name is not None:
            raise UserError(
                f"layout={config.layout.name} is for a PRM of another project; leave it null for "
                + ("scores=likelihood" if config.scores == "likelihood" else "a model of the public code")
            )
        return None
    ours = any((place / SETTINGS_FILE).is_file() for place in (folder, folder / "model"))
    if ours and config.layout.name is not None:
        raise UserError(
            f"layout={config.layout.name} is for a PRM of another project, and {folder} holds one of ours: "
            "leave it null"
        )
    return config.layout.name or (None if ours else recognised_layout(folder))


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
