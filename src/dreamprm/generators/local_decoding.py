"""Encodes each prefix once, then decodes all samples together; rows leave the batch as they end.

The library's own `generate` encodes the prefixes: it handles each family's images, masks and positions. It
could decode too (`past_key_values`, or `num_return_sequences`), but it draws from one random stream for the
whole batch, keeps finished rows in the batch, and encodes a prefix again for each of its samples.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from dreamprm.generators.base import Completion


@dataclass
class EncodedPrefixes:
    """The model's state after reading some prefixes.

    Attributes:
        logits: `(prefixes, vocabulary)`, for the first new token.
        cache: keys and values, one row per prefix.
        mask: `(prefixes, tokens)`, 0 at the padding on the left.
        positions: of the next token, `(prefixes, 1)`, or `(3, prefixes, 1)` for rotary positions of images.
    """

    logits: Tensor
    cache: Any
    mask: Tensor
    positions: Tensor


class NonFiniteLogits(Exception):
    """The model's output contains NaN or infinity, so nothing can be sampled from it."""


@torch.inference_mode()
def encode_prefixes(model: Any, inputs: Mapping[str, Tensor], *, pad_token_id: int) -> EncodedPrefixes:
    """Read the prefixes in one forward pass.

    Args:
        model: a generative `transformers` model.
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
    # In the Qwen-VL families an image takes fewer positions than tokens. The model stores the difference.
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
    """Continue each completion to its end. The prefixes' cache is consumed.

    Args:
        model: the model that encoded the prefixes.
        prefixes: from `encode_prefixes`.
        completions: each with the index of its prefix.
        temperature: divides the logits; 0 takes the largest.

    Raises:
        NonFiniteLogits: the model's output contains NaN or infinity.
    """
    taken = inspect.signature(model.forward).parameters
    extra: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
    open_rows = [completion for _, completion in completions]
    rows = torch.tensor([prefix for prefix, _ in completions], device=prefixes.mask.device)
    logits, cache = prefixes.logits[rows], prefixes.cache
    positions = prefixes.positions.index_select(-2, rows)
    # Without padding there is nothing to mask, and fused attention need not copy the keys for its
    # heads.
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
        # Families differ here as well: PaliGemma counts positions from 1.
        step = model.prepare_inputs_for_generation(
            tokens[:, None], past_key_values=cache, attention_mask=mask, use_cache=True, **extra
        )
        out = model(**step, return_dict=True)
        logits = out.logits[:, -1].float()
        positions = positions + 1


def pick(logits: Tensor, *, temperature: float, draws: Tensor) -> Tensor:
    """The next token of each row: where the row's draw falls in the cumulative softmax(logits / temperature).

    Args:
        logits: `(rows, vocabulary)`.
        temperature: >= 0; 0 takes the largest logit.
        draws: `(rows,)` float64, uniform in [0, 1).

    Returns:
        `(rows,)` token ids.

    Raises:
        NonFiniteLogits: the logits contain NaN or infinity.
    """
    if temperature == 0:
        total, tokens = logits.max(dim=-1)
    else:
        # Summed in float64: in float32 the rounding error of 150,000 sums can be a token's whole
        # probability.
        summed = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1, dtype=torch.float64)
        total = summed[:, -1]
        tokens = torch.searchsorted(summed, (draws * total)[:, None], right=True).squeeze(1)
        tokens = tokens.clamp_max(logits.shape[1] - 1)
    if not torch.isfinite(total).all():
        raise NonFiniteLogits
    return tokens


_CONTEXT = 4  # number of tokens before the completion that are decoded along with its first token


class OpenCompletion:
    """Takes tokens one by one until an end token, a stop text or the length limit.

    Its random numbers depend only on (seed, sample), not on the rest of the batch.

    Args:
        decode: converts token ids to text, without special tokens.
        before: the ids of the prompt with the prefix, or the last of them. The first new token is decoded
            after them, because a SentencePiece tokenizer drops the space before the first word of a text.
        seed, sample: the seed of the prefix's samples, and the number of this one among them.
        end: ids that end the response; not part of it.
        max_tokens: the length limit, >= 1.
        stop: texts that end the completion; cut off together with what follows.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        before: Sequence[int],
        *,
        seed: int,
        sample: int,
        end: frozenset[int],
        max_tokens: int,
        stop: Sequence[str],
    ) -> None:
        self._decode = decode
        self._context = list(before[-_CONTEXT:])
        self._context_text = decode(self._context)
        self._random = random.Random(f"{seed}/{sample}")
        self._end, self._max_tokens = end, max_tokens
        self._stop = tuple(text for text in stop if text)
        # A token has at least one byte, so a stop text that ends here begins within this many tokens; a few
        # more, so that decoding does not start in the middle of a character.
        self._window = max((len(text.encode()) for text in self._stop), default=0) + _CONTEXT
        self._ids: list[int] = []
        self._ended = False

    def draw(self) -> float:
        """The next random number, uniform in [0, 1)."""
        return self._random.random()

    def add(self, token: int) -> bool:
        """Add the next token; returns whether the completion is finished."""
        if token in self._end:
            self._ended = True
            return True
        self._ids.append(token)
        if self._stop and self._stopped_in(self._decode(self._ids[-self._window :])) is not None:
            # The window may decode differently from the whole; the whole decides.
            self._ended = self._stopped_in(self._text(len(self._ids))) is not None
        return self._ended or len(self._ids) >= self._max_tokens

    def completion(self) -> Completion:
        """The completion so far, cut before the first stop text; counts only the tokens of that text."""
        count = len(self._ids)
        text = self._text(count)
        cut = self._stopped_in(text)
        if cut is None:
            return Completion(text, count, self._ended, stopped_by="" if self._stop else None)
        while count and len(self._text(count - 1)) >= cut:
            count -= 1
        by = next(stop for stop in self._stop if text.startswith(stop, cut))
        return Completion(text[:cut], count, True, stopped_by=by)

    def _stopped_in(self, text: str) -> int | None:
        """Where the first stop text begins."""
        found = [place for place in map(text.find, self._stop) if place >= 0]
        return min(found) if found else None

    def _text(self, count: int) -> str:
        """The text of the first `count` tokens."""
        ids = self._ids[:count]
        whole = self._decode(self._context + ids)
        if whole.startswith(self._context_text):
            return whole[len(self._context_text) :]
        return self._decode(ids)  # a tokenizer that rewrites the preceding text


_ROOM = 64  # number of tokens that a buffer grows by


class RoomyLayer(DynamicLayer):
    """A layer's keys and values at the beginning of larger buffers; for decoding, which only appends.

    The library's `DynamicLayer` copies all of them for every new token, which for many rows of long prefixes
    takes longer than the model itself. The values are the same.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._buffers = [_longer(keys, self._length), _longer(values, self._length)]
        self.keys, self.values = self._views()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add new tokens' keys and values, `(rows, heads, tokens, size)`; returns all of them."""
        del args, kwargs
        begin = self._length
        self._length += key_states.shape[-2]
        if self._length > self._buffers[0].shape[-2]:
            self._buffers = [_longer(buffer, begin, self._length) for buffer in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., begin : self._length, :] = states
        keys, values = self._views()
        self.keys, self.values = keys, values
        return keys, values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows, in this order; a row may occur several times."""
        self._buffers = [buffer.index_select(0, beam_idx) for buffer in self._buffers]
        self.keys, self.values = self._views()

    def _views(self) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[..., : self._length, :] for buffer in self._buffers)
        return keys, values


def spread_rows(cache: Any, rows: Tensor) -> None:
    """Select rows of the cache, and give its plain layers room for new tokens.

    Args:
        cache: a `transformers` cache. Layers that are not plain (such as sliding windows) stay unchanged.
        rows: `(rows,)`, the row indices; each may occur several times.
    """
    cache.reorder_cache(rows)
    if type(cache) is DynamicCache:
        for index, layer in enumerate(cache.layers):
            if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
                cache.layers[index] = RoomyLayer(layer.keys, layer.values)


def _longer(states: Tensor, length: int, needed: int = 0) -> Tensor:
    """A buffer that starts with the first `length` tokens of the states and has room for more."""
    rows, heads, _, size = states.shape
    buffer = states.new_empty(rows, heads, max(length, needed) + _ROOM, size)
    buffer[..., :length, :] = states[..., :length, :]
    return buffer
