"""Low-rank adapters on a PRM's backbone, by the library peft: added, merged, saved and read.

    y = x W^T + b + (alpha / rank) dropout(x) A^T B^T        A: (rank, in), B: (out, rank), B = 0 at the start

An adapted layer `NAME` of the backbone becomes a layer of peft's: its own parameters are called
`NAME.base_layer.weight` and `NAME.base_layer.bias` then, the adapter's `NAME.lora_A.default.weight` and
`NAME.lora_B.default.weight`.

Source: Hu et al., arXiv 2106.09685; alpha / sqrt(rank): Kalajdzievski, arXiv 2312.03732.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreamprm.config.errors import UserError
from dreamprm.models.frozen_weights import stores_frozen

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_IN_FILES = "base_model.model."  # what peft writes before the names in an adapter's files
_ADAPTER = "default"


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name is an adapter's."""
    return f".lora_A.{_ADAPTER}." in name or f".lora_B.{_ADAPTER}." in name


def is_adapted(name: str) -> bool:
    """Whether a parameter of this name is a layer's own that an adapter adapts."""
    return ".base_layer." in name


def plain_name(name: str) -> str:
    """What a parameter was called before adapters were added."""
    return name.replace(".base_layer.", ".")


def has_adapters(backbone: nn.Module) -> bool:
    """Whether adapters were added and not merged."""
    return bool(_adapted_layers(backbone))


def add_adapters(
    backbone: PreTrainedModel,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: Sequence[str],
    rslora: bool,
    prefix: str = "",
) -> None:
    """Adapt the linear layers that patterns name; the model computes what it did, as B is 0.

    A is drawn from torch's global random numbers. All other parameters of the backbone stop taking gradients.

    Args:
        backbone: changed in place.
        rank, alpha, dropout, rslora: of all adapters; with `rslora`, the scale is alpha / sqrt(rank).
        target_modules: patterns of layers' names, or of the last parts of them (`q_proj`, as in peft).
        prefix: what the names that are matched and told start with, before those within the backbone.

    Raises:
        UserError: peft is not installed, the backbone has adapters, a pattern matches no linear layer, or one
            matches the output layer while its weight is the embedding's too.
    """
    peft = _peft()
    if has_adapters(backbone):
        raise UserError("the model has adapters already; merge them first: save it and read it again")
    layers = {prefix + name: layer for name, layer in backbone.named_modules() if type(layer) is nn.Linear}
    chosen: dict[str, nn.Module] = {}
    for pattern in target_modules:
        matching = {name: layer for name, layer in layers.items() if _matches(name, pattern)}
        if not matching:
            raise UserError(
                f"target_modules: {pattern!r} matches no linear layer; names are such as "
                f"{', '.join([*list(layers)[:1], *list(layers)[-3:]])}"
            )
        chosen |= matching
    if not chosen:
        raise UserError("target_modules must name at least one layer, got []")
    embedding = backbone.get_input_embeddings().weight
    for name, layer in chosen.items():
        if layer.weight is embedding:
            raise UserError(
                f"target_modules: {name} shares its weight with the embedding, which merging its adapter "
                "would change too; leave it out"
            )
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=[name.removeprefix(prefix) for name in chosen],
        use_rslora=rslora,
    )
    peft.inject_adapter_in_model(config, backbone, adapter_name=_ADAPTER)
    for layer in _adapted_layers(backbone).values():
        layer.train()  # dropout acts, if there is any


def plain_state(backbone: PreTrainedModel) -> dict[str, Tensor] | None:
    """The weights as a plain checkpoint holds them, on the CPU: adapters merged, none narrower than others.

        W + scale B A, computed in float32 or wider

    Returns:
        None if the backbone has no adapters, and no weight that is stored in a narrower dtype.
    """
    layers = _adapted_layers(backbone)
    if not layers and not stores_frozen(backbone):
        return None
    dtype = torch.promote_types(backbone.dtype, torch.float32)
    known: dict[int, Tensor] = {}  # tied weights stay one tensor
    state = {}
    for name, value in backbone.state_dict().items():
        if is_adapter(name):
            continue
        if value.data_ptr() not in known:
            layer = layers.get(name.removesuffix(".base_layer.weight"))
            wide = value.detach().to(dtype)
            known[value.data_ptr()] = (wide if layer is None else wide + _change(layer)).cpu()
        state[plain_name(name)] = known[value.data_ptr()]
    return state


def save_adapters(backbone: PreTrainedModel, folder: Path, *, base: str) -> dict[str, Tensor]:
    """Write the adapters as peft does, for a base checkpoint.

    Returns:
        What else of the backbone is trained, as its parameters say (`requires_grad`), by its plain name.
    """
    peft = _peft()
    config: Any = backbone.peft_config[_ADAPTER]
    content = config.to_dict() | {
        "target_modules": sorted(_adapted_layers(backbone)),
        "base_model_name_or_path": base,
        "inference_mode": True,
    }
    text = json.dumps(content, indent=2, sort_keys=True, default=str)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    adapters = peft.get_peft_model_state_dict(backbone, adapter_name=_ADAPTER, save_embedding_layers=False)
    save_file(
        {_IN_FILES + name: value.detach().cpu().contiguous() for name, value in adapters.items()},
        folder / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )
    return {
        plain_name(name): value.detach().cpu().contiguous()
        for name, value in backbone.named_parameters()
        if value.requires_grad and not is_adapter(name)
    }


def merge_saved_adapters(backbone: PreTrainedModel, folder: Path) -> None:
    """Read the adapters in a folder and merge them into a backbone, as `plain_state` would have.

    Raises:
        UserError: peft is not installed, or the files are missing, broken or not of this backbone.
    """
    peft = _peft()
    if not (folder / CONFIG_FILE).is_file():  # peft would look for it on the hub
        raise UserError(f"cannot read the adapters in {folder}: {CONFIG_FILE} is missing")
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        weights = load_file(folder / WEIGHTS_FILE)
        peft.inject_adapter_in_model(config, backbone, adapter_name=_ADAPTER)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = peft.set_peft_model_state_dict(backbone, weights, adapter_name=_ADAPTER)
    except (OSError, ValueError, TypeError, RuntimeError, Warning, SafetensorError) as error:
        raise UserError(f"cannot read the adapters in {folder}: {error}") from error
    lost = [name for name in found.missing_keys if is_adapter(name)]
    if lost or found.unexpected_keys:
        raise UserError(
            f"{folder / WEIGHTS_FILE} does not hold the adapters that {CONFIG_FILE} describes: "
            f"{len(lost)} are missing, {len(found.unexpected_keys)} are surplus"
        )
    layers = _adapted_layers(backbone)
    if any(layer.lora_variant for layer in layers.values()):
        raise UserError(f"{folder / CONFIG_FILE} describes a variant of LoRA; dreamprm writes and reads none")
    with torch.no_grad():
        for name, layer in layers.items():
            own = layer.get_base_layer()
            own.weight.copy_(own.weight + _change(layer))
            parent, _, last = name.rpartition(".")
            setattr(backbone.get_submodule(parent), last, own)
    del backbone.peft_config
    backbone.requires_grad_(True)


def adapter_facts(backbone: PreTrainedModel) -> dict[str, Any]:
    """What a model's card says of its adapters; empty if there are none."""
    layers = _adapted_layers(backbone)
    if not layers:
        return {}
    config: Any = backbone.peft_config[_ADAPTER]
    scale = "alpha / sqrt(rank)" if config.use_rslora else "alpha / rank"
    dropout = f", dropout {config.lora_dropout:g}" if config.lora_dropout else ""
    return {
        "lora": f"rank {config.r}, alpha {config.lora_alpha:g} (scale {scale}){dropout}, {len(layers)} layers"
    }


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _adapted_layers(backbone: nn.Module) -> dict[str, Any]:
    """Adapted layers by their name in the backbone."""
    return dict(_named_layers(backbone))


def _named_layers(backbone: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in backbone.named_modules():
        if hasattr(layer, "base_layer") and hasattr(layer, "lora_A"):
            yield name, layer


def _change(layer: Any) -> Tensor:
    """scale B A: what an adapter adds to its layer's weight."""
    change: Tensor = layer.get_delta_weight(_ADAPTER)
    return change.detach()


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise UserError(
            "low-rank adapters need the library peft, which is not installed; pip install 'dreamprm[peft]'"
        ) from error
    return peft
