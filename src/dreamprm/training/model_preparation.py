"""What a run trains of its model, from its settings: all, a part, or adapters; and how the rest is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from dreamprm.config.errors import UserError
from dreamprm.models.backbone import read_backbone_config
from dreamprm.models.lora import is_adapter
from dreamprm.models.prm import PRM
from dreamprm.models.trained_part import VISION, store_untrained, trained_names
from dreamprm.training.settings import LoraSettings, ModelSettings


def take_trained_part(prm: PRM, model: ModelSettings) -> None:
    """Add the adapters that the settings ask for, and store what is not trained in their dtype.

    Raises:
        UserError: peft is not installed, patterns that match nothing, or nothing to store in bf16.
    """
    if model.lora is not None:
        _add_lora(prm, model.lora, freeze_vision=model.freeze_vision)
    if model.frozen_dtype == "bf16" and not store_untrained(prm, _trained_names(prm, model)):
        raise UserError(
            "model.frozen_dtype=bf16 is for what is not trained, and all matrices are; train a part of them, "
            "by model.lora, model.trainable or model.freeze_vision, or leave it out"
        )


def trained_params(prm: PRM, model: ModelSettings) -> dict[str, Tensor]:
    """Master copies of the parameters that the settings train (`PRM.trainable_params`).

    Raises:
        UserError: a pattern of `model.trainable` that matches no parameter.
    """
    _trained_names(prm, model)
    return prm.trainable_params(freeze_vision=model.freeze_vision, patterns=model.trainable)


def refuse_divided_dropout(model: ModelSettings, processes: int) -> None:
    """Refuse what several processes cannot train as one does.

    Raises:
        UserError: adapters with dropout.
    """
    if processes > 1 and model.lora is not None and model.lora.dropout:
        raise UserError(
            f"model.lora.dropout={model.lora.dropout:g} draws masks for the rows of each of the {processes} "
            "processes, which are not those that one process draws; set model.lora.dropout=0, or start it "
            "without a launcher"
        )


def _trained_names(prm: PRM, model: ModelSettings) -> list[str]:
    try:
        return trained_names(prm, freeze_vision=model.freeze_vision, patterns=model.trainable)
    except UserError as error:
        raise UserError(f"model.trainable: {error}") from error


def _add_lora(prm: PRM, lora: LoraSettings, *, freeze_vision: bool) -> None:
    try:
        prm.add_lora(
            rank=lora.rank,
            alpha=lora.alpha,
            dropout=lora.dropout,
            target_modules=lora.target_modules,
            rslora=lora.rslora,
        )
    except UserError as error:
        raise UserError(f"model.lora: {error}") from error
    adapters = [name for name, _ in prm.named_parameters() if is_adapter(name)]
    if freeze_vision and any(name.startswith(VISION) for name in adapters):
        raise UserError(
            "model.lora.target_modules names layers of the vision tower, which model.freeze_vision=true "
            "leaves untrained; give one of them"
        )


def backbone_config(model: ModelSettings) -> PreTrainedConfig:
    """The shapes of the configured backbone.

    Raises:
        UserError: as `make_prm`.
    """
    source = model.path or read_model_config(model.config)
    if source is None:
        raise UserError("give model.path (a checkpoint), or model.config")
    return read_backbone_config(source)


def read_model_config(path: str | None) -> dict[str, Any] | None:
    """The content of `model.config`; None where none is given.

    Raises:
        UserError: it cannot be read, or is no JSON object.
    """
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"model.config={path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(
            f"model.config={path} must hold a transformers config, got a {type(content).__name__}"
        )
    return content
