"""One encoded chain of thought: token rows, where they are read, and its images as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dreamprm.models.images import Grid


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
    """Rows of one chain of thought and the images that every one of its rows shows.

    Fields:
        rows: one row with all step ends (`step_end`), or a row per step (`chat_suffix`).
        images: `(3, height, width)` uint8 each, at their final size.
    """

    rows: tuple[EncodedRow, ...]
    images: tuple[np.ndarray, ...] = field(default=())

    @property
    def n_steps(self) -> int:
        """Number of steps that are read."""
        return sum(len(row.reads) for row in self.rows)


def multimodal_positions(token_types: np.ndarray, grids: Sequence[Grid], merge: int) -> np.ndarray:
    """Position ids `(3, L)` of one row, as `get_rope_index` of the Qwen-VL models computes them.

    Text advances all three coordinates by one a token. An image's tokens sit at start + (t, h, w) of its
    merged grid, and the text after it goes on at start + max(height, width) of that grid. Computed here,
    once a row on the CPU, since the model's own loop takes 9 ms for 120 rows.

    Args:
        token_types: `(L,)`, 1 at image tokens.
        grids: the grid of each image of the row, in order.
        merge: patches merged into a token, along a side.
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
