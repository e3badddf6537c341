"""Prefixes encoded once, then all their samples decoded together, row by row out of the batch as they end.

The library's own `generate` encodes the prefixes: it knows each family's images, masks and positions. It
could decode too (`past_key_values`, or `num_return_sequences`), but it draws from one random stream for the
whole batch, keeps rows in it that have ended, and encodes a prefix again for each of its samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from dreamprm.generators.local_cache import spread_rows
from dreamprm.generators.local_completion import OpenCompletion


@dataclass
class EncodedPrefixes:
    """What the model knows after reading some prefixes.

    Attributes:
        logits: `(prefixes, vocabulary)` of the first new token.
        cache: keys and values, a row a prefix.
        mask: `(prefixes, tokens)`, 0 at the padding on the left.
        positions: of the next token, `(prefixes, 1)`, or `(3, prefixes, 1)` for rotary positions of images.
    """

    logits: Tensor
    cache: Any
    mask: Tensor
    positions: Tensor


class NonFiniteLogits(Exception):
    """The model's output holds NaN or infinity: nothing can be drawn from it."""


@torch.inference_mode()
def encode_prefixes(model: Any, inputs: Mapping[str, Tensor], *, pad_token_id: int) -> EncodedPrefixes:
    """Read the prefixes in one forward pass.

    Args:
        model: a `transformers` model that generates.
        inputs: its inputs for the prefixes, padded on the left.
        pad_token_id: any id; it is masked.
    """
    config = GenerationConfig(
        max_new_tokens=1,
        do_sample=False,
        pad_token_id=pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )
    out = model.generate(**inputs, generation_config=config)
    mask = inputs["attention_mask"]
    positions = mask.sum(dim=1, keepdim=True)
    # The Qwen-VL families: an image takes fewer positions than tokens. The model keeps the difference.
    offsets = getattr(model.base_model, "rope_deltas", None)
    if offsets is not None:
        positions = (positions + offsets.to(positions.device)).expand(3, -1, -1)
    return EncodedPrefixes(out.logits[0], out.past_key_values, mask, positions)


@torch.inference_mode()
def decode(
    model: Any,
    prefixes: EncodedPrefixes,
    completions: Sequence[tuple[int, OpenCompletion]],
    *,
    temperature: float,
) -> None:
    """Continue each completion to its end. The prefixes' cache is used up.

    Args:
        model: the one that encoded the prefixes.
        prefixes: from `encode_prefixes`.
        completions: each with the number of its prefix.
        temperature: divides the logits; 0 takes the largest.

    Raises:
        NonFiniteLogits: NaN or infinity in the model's output.
    """
    taken = inspect.signature(model.forward).parameters
    extra: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
    open_rows = [completion for _, completion in completions]
    rows = torch.tensor([prefix for prefix, _ in completions], device=prefixes.mask.device)
    logits, cache = prefixes.logits[rows], prefixes.cache
    positions = prefixes.positions.index_select(-2, rows)
    # Without padding there is nothing to mask, and fused attention need not copy the keys for its heads.
    mask = prefixes.mask[rows] if (prefixes.mask == 0).any() else None
    spread_rows(cache, rows)
    while True:
        draws = torch.tensor([row.draw() for row in open_rows], dtype=torch.float64, device=logits.device)
        tokens = pick(logits, temperature=temperature, draws=draws)
        ended = [row.add(token) for row, token in zip(open_rows, tokens.tolist(), strict=True)]
        if all(ended):
            return
        if any(ended):
            left = [i for i, over in enumerate(ended) if not over]
            open_rows = [open_rows[i] for i in left]
            rows = torch.tensor(left, device=tokens.device)
            tokens, positions = tokens[rows], positions.index_select(-2, rows)
            mask = mask if mask is None else mask[rows]
            cache.reorder_cache(rows)
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if "position_ids" in taken:
            extra["position_ids"] = positions
        # Families differ here too: PaliGemma counts positions from 1.
        step = model.prepare_inputs_for_generation(
            tokens[:, None], past_key_values=cache, attention_mask=mask, use_cache=True, **extra
        )
        out = model(**step, return_dict=True)
        logits = out.logits[:, -1].float()
        positions = positions + 1


def pick(logits: Tensor, *, temperature: float, draws: Tensor) -> Tensor:
    """The next token of each row: where the row's draw falls in softmax(logits / temperature), summed up.

    Args:
        logits: `(rows, vocabulary)`.
        temperature: >= 0; 0 takes the largest logit.
        draws: `(rows,)` float64, uniform in [0, 1).

    Returns:
        `(rows,)` token ids.

    Raises:
        NonFiniteLogits: NaN or infinity among the logits.
    """
    if temperature == 0:
        total, tokens = logits.max(dim=-1)
    else:
        # Summed in float64: in float32 the rounding of 150,000 sums would be a token's whole share.
        summed = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1, dtype=torch.float64)
        total = summed[:, -1]
        tokens = torch.searchsorted(summed, (draws * total)[:, None], right=True).squeeze(1)
        tokens = tokens.clamp_max(logits.shape[1] - 1)
    if not torch.isfinite(total).all():
        raise NonFiniteLogits
    return tokens
