"""The encoded rows of one question as a tree: their common prefix, then each candidate's own tokens.

Pure token arithmetic: which tokens must be computed, their positions, and what each of them may attend to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.models.encoding import EncodedCoT, EncodedRow


@dataclass(frozen=True)
class Branch:
    """The tokens of one candidate after the common prefix, each of them once.

    A candidate that is read at its step ends is a chain. One that is read after the chat template
    (`chat_suffix`) has one row per step; these rows share the earlier steps and so form a tree, with the
    template's closing tokens as its side branches.

    Fields:
        input_ids, token_types: `(L,)` int64; a parent comes before its children.
        positions: `(3, L)` int64, taken from the rows that the tokens come from.
        reads: where each step is read, in the order of the steps.
        ancestors: `(L, L)` bool; [i, j] says whether token i attends to token j. None for a chain (j <= i).
    """

    input_ids: np.ndarray
    token_types: np.ndarray
    positions: np.ndarray
    reads: tuple[int, ...]
    ancestors: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])


@dataclass(frozen=True)
class QuestionTree:
    """All candidates of a question.

    Fields:
        prefix: the tokens that all rows start with; no step is read in it.
        branches: one per candidate.
        images: the images that the rows show; their tokens are all in the prefix, or in each branch if the
            prefix is empty.
    """

    prefix: EncodedRow
    branches: tuple[Branch, ...]
    images: tuple[np.ndarray, ...]


def question_tree(candidates: Sequence[EncodedCoT]) -> QuestionTree:
    """The tree of a question's candidates; with a single candidate the prefix is empty, as nothing is shared.

    Args:
        candidates: at least one, encoded with the same question, images and readout.

    Raises:
        ValueError: no candidate, or candidates with different images.
    """
    if not candidates:
        raise ValueError("a question needs at least one candidate")
    images = candidates[0].images
    if any(not _same_images(images, other.images) for other in candidates[1:]):
        raise ValueError("the candidates of a question must show the same images")
    shared = _shared_length(candidates) if len(candidates) > 1 else 0
    first = candidates[0].rows[0]
    prefix = EncodedRow(
        input_ids=first.input_ids[:shared],
        token_types=first.token_types[:shared],
        positions=first.positions[:, :shared],
    )
    return QuestionTree(prefix, tuple(_branch(candidate.rows, shared) for candidate in candidates), images)


def _same_images(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    return len(one) == len(other) and all(
        a is b or np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


def _shared_length(candidates: Sequence[EncodedCoT]) -> int:
    """How many tokens all rows start with; every read position comes after them."""
    rows = [row for candidate in candidates for row in candidate.rows]
    first = rows[0].input_ids
    shared = min(row.reads[0] for row in rows)
    for row in rows[1:]:
        differs = np.flatnonzero(first[:shared] != row.input_ids[:shared])
        if differs.size:
            shared = int(differs[0])
    # Images come before the question's text, which is the same in all rows.
    assert not any(row.token_types[shared:].any() for row in rows), "an image comes after the shared tokens"
    return shared


def _branch(rows: Sequence[EncodedRow], start: int) -> Branch:
    if len(rows) == 1:
        row = rows[0]
        return Branch(
            row.input_ids[start:],
            row.token_types[start:],
            row.positions[:, start:],
            tuple(read - start for read in row.reads),
        )
    places: dict[tuple[int, int], int] = {}  # (parent, token) -> its place
    parents: list[int] = []
    sources: list[tuple[int, int]] = []  # (row, column) that each token is taken from
    reads: list[int] = []
    for number, row in enumerate(rows):
        at, path = -1, []
        for column, token in enumerate(row.input_ids[start:].tolist(), start=start):
            place = places.setdefault((at, token), len(parents))
            if place == len(parents):
                parents.append(at)
                sources.append((number, column))
            path.append(place)
            at = place
        reads.extend(path[read - start] for read in row.reads)
    ancestors = np.zeros((len(parents), len(parents)), dtype=bool)
    for place, parent in enumerate(parents):
        if parent >= 0:
            ancestors[place] = ancestors[parent]
        ancestors[place, place] = True
    return Branch(
        input_ids=np.array([rows[row].input_ids[column] for row, column in sources], dtype=np.int64),
        token_types=np.array([rows[row].token_types[column] for row, column in sources], dtype=np.int64),
        positions=np.stack([rows[row].positions[:, column] for row, column in sources], axis=1),
        reads=tuple(reads),
        ancestors=ancestors,
    )
