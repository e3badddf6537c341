"""Encoded chains of thought and their batches: padded rows, step ends, each distinct image once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dreamprm.models.images import Grid, ImagePatcher, NoImages


@dataclass(frozen=True)
class EncodedRow:
    """One token sequence.

    Fields:
        input_ids: `(L,)` int64.
        token_types: `(L,)` int64, 1 at image tokens, else 0 (transformers' `mm_token_type_ids`).
        positions: `(3, L)` int64, time, height and width positions (Qwen2-VL's multimodal RoPE).
        reads: positions of the tokens at which a step score is read, ascending.
        text_start: first token of the text a language model is asked to predict.
    """

    input_ids: np.ndarray
    token_types: np.ndarray
    positions: np.ndarray
    reads: tuple[int, ...] = ()
    text_start: int = 0


@dataclass(frozen=True)
class EncodedCoT:
    """The rows of one chain of thought, and the images that each of these rows shows.

    Fields:
        rows: one row with all step ends (`step_end`), or one row per step (`chat_suffix`).
        images: `(3, height, width)` uint8 each, at their final size.
    """

    rows: tuple[EncodedRow, ...]
    images: tuple[np.ndarray, ...] = field(default=())

    @property
    def n_steps(self) -> int:
        """Number of steps that are scored."""
        return sum(len(row.reads) for row in self.rows)


def multimodal_positions(token_types: np.ndarray, grids: Sequence[Grid], merge: int) -> np.ndarray:
    """Position ids `(3, L)` of one row, as `get_rope_index` of the Qwen-VL models computes them.

    Each text token advances all three coordinates by one. An image's tokens are at start + (t, h, w) of its
    merged grid, and the text after it continues at start + max(height, width) of that grid. Computed here,
    once per row on the CPU, since the model's own loop takes 9 ms for 120 rows.

    Args:
        token_types: `(L,)`, 1 at image tokens.
        grids: the grid of each of the row's images, in order.
        merge: patches merged into a token, per side.
    """
    positions = np.empty((3, token_types.shape[0]), dtype=np.int64)
    start, column = 0, 0
    image_columns = np.flatnonzero(token_types)
    used = 0
    for time, height, width in grids:
        height, width = height // merge, width // merge
        first = int(image_columns[used])
        positions[:, column:first] = start + np.arange(first - column)
        start += first - column
        n = time * height * width
        positions[:, first : first + n] = start + np.indices((time, height, width)).reshape(3, n)
        start += max(height, width)
        column, used = first + n, used + n
    positions[:, column:] = start + np.arange(token_types.shape[0] - column)
    return positions


def collate(
    encoded: Sequence[EncodedCoT], *, patcher: ImagePatcher | NoImages, pad_token_id: int
) -> dict[str, Tensor]:
    """The batch that `PRM.forward` takes, on the CPU.

    Returns:
        `input_ids`, `attention_mask`, `mm_token_type_ids` (R, L) and `position_ids` (3, R, L) long, padded
        on the right; `step_rows`, `step_cols` (S,) long: every step end, CoT by CoT and in step order;
        `pixel_values` (P, C) float32 and `image_grid_thw` (n, 3) long unless no row has an image. If rows
        share an image, it is listed once, and `image_token_index` (long) gives the visual token for each
        image token of the rows.
    """
    rows = [(row, item.images) for item in encoded for row in item.rows]
    length = max((len(row.input_ids) for row, _ in rows), default=0)
    input_ids = np.full((len(rows), length), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    token_types = np.zeros_like(input_ids)
    positions = np.zeros((3, *input_ids.shape), dtype=np.int64)
    step_rows: list[int] = []
    step_cols: list[int] = []
    shown: list[np.ndarray] = []
    for index, (row, images) in enumerate(rows):
        n = len(row.input_ids)
        input_ids[index, :n] = row.input_ids
        attention_mask[index, :n] = 1
        token_types[index, :n] = row.token_types
        positions[:, index, :n] = row.positions
        step_rows.extend([index] * len(row.reads))
        step_cols.extend(row.reads)
        shown.extend(images)
    batch = {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(attention_mask),
        "mm_token_type_ids": torch.from_numpy(token_types),
        "position_ids": torch.from_numpy(positions),
        "step_rows": torch.tensor(step_rows, dtype=torch.long),
        "step_cols": torch.tensor(step_cols, dtype=torch.long),
    }
    return batch | _image_tensors(shown, patcher) if shown else batch


def text_targets(encoded: Sequence[EncodedCoT], input_ids: Tensor) -> dict[str, Tensor]:
    """The tokens to predict: `token_rows`, `token_cols` (N,) and `token_targets` (N,) long.

    The token at (row, col) predicts the target, which is at col + 1. Targets are the texts of
    `PRMProcessor.encode_text`, and the steps of a CoT encoded with `readout="step_end"` (its likelihood).

    Args:
        encoded: what the batch was made from.
        input_ids: `(R, L)`, the batch's.
    """
    spans = [
        # Nothing comes before the first token of a row, so it cannot be predicted.
        (index, max(row.text_start, 1), len(row.input_ids))
        for index, row in enumerate(row for item in encoded for row in item.rows)
    ]
    rows = torch.cat([torch.full((end - start,), index) for index, start, end in spans])
    columns = torch.cat([torch.arange(start, end) for _, start, end in spans])
    return {"token_rows": rows, "token_cols": columns - 1, "token_targets": input_ids[rows, columns]}


def _image_tensors(shown: Sequence[np.ndarray], patcher: ImagePatcher | NoImages) -> dict[str, Tensor]:
    """Patches of the distinct images, and which of their tokens make up each shown image."""
    places: dict[tuple[tuple[int, ...], bytes], int] = {}
    different: list[np.ndarray] = []
    order: list[int] = []
    for image in shown:
        key = (image.shape, image.tobytes())
        if key not in places:
            places[key] = len(different)
            different.append(image)
        order.append(places[key])
    grids = [patcher.grid(image) for image in different]
    tensors = {
        "pixel_values": torch.from_numpy(patcher.patches(different)),
        "image_grid_thw": torch.tensor(grids),
    }
    if len(different) < len(shown):
        counts = [patcher.tokens(grid) for grid in grids]
        tokens = torch.arange(sum(counts)).split(counts)
        tensors["image_token_index"] = torch.cat([tokens[place] for place in order])
    return tensors
