"""Backbones, Qwen-VL models or language models: from a checkpoint or a config, run without a vocabulary."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import Cache

from dreamprm.config.errors import UserError
from dreamprm.models.aggregation import sum_by_group
from dreamprm.models.strict_loading import load_strictly, refuse_adapter
from dreamprm.models.vision_kernels import PACKED, pack_vision_attention, project_patches_by_matrix

TEXT_BACKBONES = ("qwen2", "qwen3", "llama", "mistral")
"""Language models: a PRM on one of them takes no images."""

BACKBONES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", *TEXT_BACKBONES)


def attention_implementations() -> tuple[str, ...]:
    """The kinds of attention that the installed transformers knows; kernels of a hub come on top, by name."""
    ours = ("sdpa", "eager", *PACKED.values())
    others = (name for name in AttentionInterface().valid_keys() if not name.startswith("paged|"))
    return ("sdpa", "eager", *sorted(name for name in others if name not in ours))


def require_attention(name: str) -> None:
    """Refuse a kind of attention that transformers does not know.

    Raises:
        UserError: naming those that it knows.
    """
    known = attention_implementations()
    if name not in known and "/" not in name:
        raise UserError(
            f"unknown attn_implementation {name!r}; use one of {', '.join(known)}, or a kernel of a hub as "
            "ORGANISATION/NAME (by the package kernels)"
        )


# What a checkpoint with damaged or strange files raises, somewhere in the libraries that read it; not
# RuntimeError, which memory that ran out raises too.
_DAMAGED = (
    *(OSError, ImportError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, RecursionError, SafetensorError),
)


def make_backbone(
    source: str | Path | PreTrainedConfig | Mapping[str, Any],
    *,
    attn_implementation: str,
    dtype: torch.dtype,
    except_heads: Sequence[str] = (),
) -> PreTrainedModel:
    """A backbone with its language-model head.

    Args:
        source: a checkpoint folder or hub name (weights are loaded), or a `transformers` config or its dict
            (weights are drawn from the current random state).
        attn_implementation: one of `attention_implementations()`, or a kernel of a hub, by name.
        dtype: of the weights; use float32 master weights for training, with autocast for bf16.
        except_heads: as in `load_strictly`.

    Raises:
        UserError: not a model of a family in `BACKBONES`, nothing readable at `source`, missing, surplus
            or mis-shaped tensors (`load_strictly`), or an attention implementation that is unknown, or that
            transformers cannot use here.
    """
    require_attention(attn_implementation)
    settings: dict[str, Any] = {"attn_implementation": attn_implementation, "dtype": dtype}
    config = source if isinstance(source, PreTrainedConfig) else read_backbone_config(source)
    _check_family(config)
    auto = AutoModelForImageTextToText if reads_images(config) else AutoModelForCausalLM
    if isinstance(source, str | Path):
        try:
            return _tuned(load_strictly(auto, source, except_heads=except_heads, **settings))
        except UserError:
            raise
        except _DAMAGED as error:
            raise UserError(f"cannot read a backbone from {source}: {error or repr(error)}") from error
    try:
        return _tuned(auto.from_config(config, **settings))
    except (ImportError, ValueError) as error:
        if attn_implementation in ("sdpa", "eager"):
            raise
        raise UserError(f"attn_implementation={attn_implementation} cannot be used: {error}") from error


def read_backbone_config(source: str | Path | Mapping[str, Any]) -> PreTrainedConfig:
    """The `transformers` config of a checkpoint, whose weights are not read, or of a config's dict.

    Raises:
        UserError: there is none in this folder, or of this hub name; or the dict is of another family.
    """
    if isinstance(source, Mapping):
        fields = dict(source)
        family = fields.pop("model_type", None)
        if family not in BACKBONES:
            raise UserError(
                f"a backbone config needs model_type, one of {', '.join(BACKBONES)}; got {family!r}"
            )
        return AutoConfig.for_model(family, **fields)
    refuse_adapter(source)
    try:
        return AutoConfig.from_pretrained(source)
    except Exception as error:  # on a damaged file the libraries raise all kinds
        raise UserError(f"cannot read a backbone from {source}: {error or repr(error)}") from error


def reads_images(config: PreTrainedConfig) -> bool:
    """Whether a backbone of this config has a vision tower; otherwise it is a language model."""
    return config.model_type not in TEXT_BACKBONES


def _tuned(backbone: PreTrainedModel) -> PreTrainedModel:
    if reads_images(backbone.config):
        pack_vision_attention(backbone)
        project_patches_by_matrix(backbone)
    return backbone


def _check_family(config: PreTrainedConfig) -> None:
    if config.model_type not in BACKBONES:
        raise UserError(
            f"the backbone is a {config.model_type!r} model; a PRM needs one of {', '.join(BACKBONES)}"
        )


def last_hidden_states(
    backbone: PreTrainedModel,
    batch: Mapping[str, Tensor],
    *,
    cache: Cache | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """`(R, L, hidden)` final hidden states; no vocabulary logits are computed.

    Args:
        backbone: from `make_backbone`.
        batch: from `PRMProcessor.collate`, with or without `with_image_features`. A batch from elsewhere may
            lack `position_ids` (the backbone then derives them) and may be padded on either side.
        cache: keys and values that precede the batch's own, which are appended to it.
        mask: `(R, 1, L, keys)`, what each token attends to, in the form the attention implementation expects;
            None: everything before it in its row.
    """
    images: dict[str, Any] = {}
    if not reads_images(backbone.config):
        return _text_states(backbone, batch, cache=cache, mask=mask)
    if "image_features" in batch:
        images["mm_encoder_outputs"] = {"image": batch["image_features"]}
    elif "image_token_index" in batch:
        images["mm_encoder_outputs"] = {"image": _shared_image_features(backbone, batch)}
    elif "pixel_values" in batch:
        images["pixel_values"] = batch["pixel_values"]
        images["image_grid_thw"] = batch["image_grid_thw"]
    # Position ids come from collate, which pads on the right. No text token then sees padding, as attention
    # is causal; without a mask the fused kernels take their fast causal path.
    if mask is None and "position_ids" not in batch:
        mask = batch["attention_mask"]
    outputs = backbone.model(
        input_ids=batch["input_ids"],
        attention_mask=mask,
        mm_token_type_ids=batch["mm_token_type_ids"],
        position_ids=batch.get("position_ids"),
        past_key_values=cache,
        use_cache=cache is not None,
        **images,
    )
    return outputs.last_hidden_state


def _text_states(
    backbone: PreTrainedModel, batch: Mapping[str, Tensor], *, cache: Cache | None, mask: Tensor | None
) -> Tensor:
    """`last_hidden_states` of a language model."""
    if mask is None and "position_ids" not in batch:
        mask = batch["attention_mask"]
    outputs = backbone.model(
        input_ids=batch["input_ids"],
        attention_mask=mask,
        position_ids=_text_positions(batch) if mask is not None else None,
        past_key_values=cache,
        use_cache=cache is not None,
    )
    states: Tensor = outputs.last_hidden_state
    return states


def _text_positions(batch: Mapping[str, Tensor]) -> Tensor | None:
    """`(R, L)` positions, of which `collate` has three equal ones where there are no images.

    Without a mask they are left out: rows start at 0, and transformers takes positions that start again, as
    in padding, for several texts in a row.
    """
    positions = batch.get("position_ids")
    return None if positions is None else positions[0]


def states_read(backbone: PreTrainedModel, batch: Mapping[str, Any], *, rows: str, columns: str) -> Tensor:
    """`(N, hidden)` final states at the tokens of a batch.

    Args:
        batch: from `PRMProcessor.collate`, or made of a trunk's states: `read_states` `(N, hidden)`, which
            enter the final norm; or `trunk_states` `(R, L, hidden)`, which enter layer `first_layer`.
        rows, columns: the names in the batch of the tokens' places.
    """
    if "read_states" in batch:
        states: Tensor = text_model(backbone).norm(batch["read_states"])
        return states
    if "trunk_states" not in batch:
        return last_hidden_states(backbone, batch)[batch[rows], batch[columns]]
    text = text_model(backbone)
    hidden = _layers_from(text, batch["first_layer"])(
        inputs_embeds=batch["trunk_states"],
        position_ids=batch["position_ids"] if reads_images(backbone.config) else None,
        # Rows are padded on the right: no text token sees padding (`last_hidden_states`).
        attention_mask=None,
        use_cache=False,
    ).last_hidden_state
    return hidden[batch[rows], batch[columns]]


def _layers_from(text: Any, first: int) -> Any:
    """The text model with its upper layers alone: its own forward pass then does exactly the rest.

    Modules are shared, so that it sees the parameters that `functional_call` puts in.
    """
    upper = copy.copy(text)
    upper._modules = dict(text._modules)
    upper.layers = text.layers[first:]
    upper.config = copy.copy(text.config)
    kinds = getattr(text.config, "layer_types", None)
    if kinds is not None:  # masks are chosen by a layer's place
        upper.config.layer_types = kinds[first:]
    return upper


def text_model(backbone: PreTrainedModel) -> Any:
    """The language model without its vocabulary head: `embed_tokens`, `layers`, `norm`, `rotary_emb`."""
    return backbone.model.language_model if reads_images(backbone.config) else backbone.model


IMAGE_INPUTS = ("pixel_values", "image_grid_thw", "image_token_index")


@torch.no_grad()
def with_image_features(backbone: PreTrainedModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch with the features of its images, from a frozen vision tower, in place of their pixels.

    A bi-level window passes over every batch several times; the tower's output is bit-identical each time,
    and no gradient passes through it.

    Args:
        batch: from `PRMProcessor.collate`, on the backbone's device.
    """
    if "pixel_values" not in batch:
        return dict(batch)
    if "image_token_index" in batch:
        features = _shared_image_features(backbone, batch)
    else:
        features = backbone.model.get_image_features(
            batch["pixel_values"], batch["image_grid_thw"], return_dict=True
        )
    kept = {name: value for name, value in batch.items() if name not in IMAGE_INPUTS}
    return kept | {"image_features": features}


def _shared_image_features(backbone: PreTrainedModel, batch: Mapping[str, Tensor]) -> Any:
    """Vision features of each distinct image, computed once and laid out for every row that shows it."""
    features = backbone.model.get_image_features(
        batch["pixel_values"], batch["image_grid_thw"], return_dict=True
    )
    index = batch["image_token_index"]  # (image tokens of all rows,)

    def laid_out(by_image: Sequence[Tensor]) -> tuple[Tensor]:
        return (torch.cat(tuple(by_image)).index_select(0, index),)  # all rows' tokens as one "image"

    features.pooler_output = laid_out(features.pooler_output)
    deepstack = getattr(features, "deepstack_features", None)  # Qwen3-VL's: features by layer, by image
    if deepstack is not None:
        features.deepstack_features = [laid_out(layer) for layer in deepstack]
    return features


def attention_in_use(backbone: PreTrainedModel) -> set[str]:
    """The attention implementations of the backbone's parts."""
    config = backbone.config
    parts = [config, config.get_text_config(), *([config.vision_config] if reads_images(config) else [])]
    kernel = {packed: name for name, packed in PACKED.items()}
    return {kernel.get(part._attn_implementation, part._attn_implementation) for part in parts}


def sdpa_is_math_only() -> bool:
    """Whether all fused kernels of scaled_dot_product_attention are disabled in this process."""
    backends = torch.backends.cuda
    fused = (
        backends.flash_sdp_enabled(),
        backends.mem_efficient_sdp_enabled(),
        backends.cudnn_sdp_enabled(),
    )
    return backends.math_sdp_enabled() and not any(fused)


def language_model_loss(token_logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of next tokens, - mean_j log softmax(logits_j)[target_j], in float32 or wider.

    Args:
        token_logits: `(N, vocab)`, at the positions before the targets, from `PRM.forward`.
        targets: `(N,)` long.
    """
    return functional.cross_entropy(_at_least_float32(token_logits), targets)


def sequence_log_likelihood(token_logits: Tensor, targets: Tensor, rows: Tensor, n: int) -> Tensor:
    """Log-likelihood of each row's text: sum over its tokens of log softmax(logits_j)[target_j].

    Args:
        token_logits: `(N, vocab)`.
        targets: `(N,)` long.
        rows: `(N,)` long, the row of each target, in 0..n-1.
        n: number of rows.

    Returns:
        `(n,)` float32 or wider; 0 for a row without targets.
    """
    by_token = -functional.cross_entropy(_at_least_float32(token_logits), targets, reduction="none")  # (N,)
    return sum_by_group(by_token, rows, n)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
