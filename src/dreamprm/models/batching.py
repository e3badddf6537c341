"""Encoded chains of thought into a batch: padded rows, step ends, each different image once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.images import ImagePatcher


def collate(encoded: Sequence[EncodedCoT], *, patcher: ImagePatcher, pad_token_id: int) -> dict[str, Tensor]:
    """The batch that `PRM.forward` takes, on the CPU.

    Returns:
        `input_ids`, `attention_mask`, `mm_token_type_ids` (R, L) and `position_ids` (3, R, L) long, padded
        on the right; `step_rows`, `step_cols` (S,) long: every step end, CoT by CoT and in step order;
        `pixel_values` (P, C) float32 and `image_grid_thw` (n, 3) long unless no row has an image. Where rows
        share an image it is listed once, and `image_token_index` long names the visual token behind each
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

    The token at (row, col) predicts the target, which stands at col + 1. Targets are the texts of
    `PRMProcessor.encode_text`, and the steps of a CoT encoded with `readout="step_end"` (its likelihood).

    Args:
        encoded: what the batch was made of.
        input_ids: `(R, L)`, the batch's.
    """
    spans = [
        # Nothing stands before the first token of a row, so it cannot be predicted.
        (index, max(row.text_start, 1), len(row.input_ids))
        for index, row in enumerate(row for item in encoded for row in item.rows)
    ]
    rows = torch.cat([torch.full((end - start,), index) for index, start, end in spans])
    columns = torch.cat([torch.arange(start, end) for _, start, end in spans])
    return {"token_rows": rows, "token_cols": columns - 1, "token_targets": input_ids[rows, columns]}


def _image_tensors(shown: Sequence[np.ndarray], patcher: ImagePatcher) -> dict[str, Tensor]:
    """Patches of the different images, and which of their tokens each shown image consists of."""
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
