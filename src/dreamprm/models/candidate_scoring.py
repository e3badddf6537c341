"""Step scores for whole questions: what a question's candidates have in common is computed only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from dreamprm.config.errors import UserError
from dreamprm.models.backbone import last_hidden_states
from dreamprm.models.encoding import EncodedCoT, EncodedRow
from dreamprm.models.prefix_tree import Branch, QuestionTree, question_tree
from dreamprm.models.processing import PRMProcessor


class StepReader(Protocol):
    """The parts of a PRM that this module uses."""

    @property
    def backbone(self) -> PreTrainedModel: ...

    @property
    def processor(self) -> PRMProcessor: ...

    @property
    def head(self) -> nn.Linear: ...

    def __call__(self, batch: Mapping[str, Tensor], /) -> Tensor: ...

    def read(self, states: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class PassLimits:
    """The size of one forward pass.

    Fields:
        rows: the most candidates.
        tokens: the most tokens, including padding; a single candidate may exceed it.

    Raises:
        UserError: a limit below 1.
    """

    rows: int = 32
    tokens: int = 16384

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.rows), ("batch_tokens", self.tokens)):
            if value < 1:
                raise UserError(f"{name} must be >= 1, got {value}")


def can_share_prefixes(backbone: PreTrainedModel) -> bool:
    """Whether rows can continue a shared prefix: the attention accepts any mask, and no layer is windowed.

    Flash attention accepts no custom mask; the cache of a windowed layer drops what is outside the window.
    """
    text = backbone.config.get_text_config()
    windowed = getattr(text, "sliding_window", None) is not None
    own = getattr(text, "layer_types", None)
    layers = set(own or ["sliding_attention" if windowed else "full_attention"])
    return text._attn_implementation in ("sdpa", "eager") and layers == {"full_attention"}


@torch.no_grad()
def scored_questions(
    prm: StepReader,
    questions: Sequence[Sequence[EncodedCoT]],
    *,
    limits: PassLimits,
    wanted: Sequence[bool] | None = None,
) -> Iterator[tuple[int, list[list[float]]]]:
    """The log-odds of every candidate's steps, question by question.

    The tokens that all candidates of a question start with (images, question, common first steps) are
    computed once; the candidates attend to their keys and values. The results equal those of scoring one
    candidate at a time, up to rounding. The model should be in evaluation mode.

    Args:
        prm: the model; if `can_share_prefixes` is false, every row is computed in full.
        questions: the encoded candidates of each question, at least one, all with the PRM's readout.
        limits: of one pass. Questions of similar length are batched together, so pass many at a time.
        wanted: of each question, whether its log-odds are needed; None: all are. Passes over others only are
            left out. A pass is the same whichever of its questions are wanted, and so are the last bits.

    Yields:
        (number of the question, for each candidate a list of per-step log-odds), not in the order of the
        questions.
    """
    if not can_share_prefixes(prm.backbone):

        def step_scores(encoded: list[EncodedCoT]) -> list[list[float]]:
            log_odds = prm(_on_device(prm, prm.processor.collate(encoded))).cpu()
            return [part.tolist() for part in log_odds.split([one.n_steps for one in encoded])]

        yield from whole_rows(questions, step_scores, limits, wanted=wanted)
        return
    trees = [question_tree(candidates) for candidates in questions]
    shared = [number for number, tree in enumerate(trees) if len(tree.prefix.input_ids)]
    alone = [number for number, tree in enumerate(trees) if not len(tree.prefix.input_ids)]
    for group in _wanted(_groups(shared, trees, limits), wanted):
        cache, lengths = _encode_prefixes(prm, [trees[number] for number in group])
        yield from _score_branches(prm, trees, group, limits, prefixes=(cache, lengths))
    for group in _wanted(_groups(alone, trees, limits), wanted):
        yield from _score_branches(prm, trees, group, limits)


def _groups(numbers: list[int], trees: Sequence[QuestionTree], limits: PassLimits) -> Iterator[list[int]]:
    """Groups of questions whose prefixes, and usually candidates, fit into one pass; shorter ones first."""

    def size(number: int) -> tuple[int, int]:
        tree = trees[number]
        return len(tree.prefix.input_ids), max(map(len, tree.branches))

    group: list[int] = []
    rows = 0
    for number in sorted(numbers, key=size):
        added = len(trees[number].branches)
        longest = max(*size(number), 1)  # the last of a group is its longest, so this includes padding
        if group and (rows + added > limits.rows or (len(group) + 1) * longest > limits.tokens):
            yield group
            group, rows = [], 0
        group.append(number)
        rows += added
    if group:
        yield group


def _wanted(groups: Iterable[list[int]], wanted: Sequence[bool] | None) -> Iterator[list[int]]:
    """The groups that hold a question that is wanted."""
    return (group for group in groups if wanted is None or any(wanted[number] for number in group))


def _encode_prefixes(prm: StepReader, trees: Sequence[QuestionTree]) -> tuple[DynamicCache, Tensor]:
    """Keys and values of the prefixes, one row each, padded on the right; and the prefixes' lengths."""
    batch = _on_device(
        prm, prm.processor.collate([EncodedCoT(rows=(tree.prefix,), images=tree.images) for tree in trees])
    )
    cache = DynamicCache(config=prm.backbone.config.get_text_config())
    last_hidden_states(prm.backbone, batch, cache=cache)
    lengths = torch.tensor([len(tree.prefix.input_ids) for tree in trees])
    return cache, lengths.to(prm.head.weight.device)


def _score_branches(
    prm: StepReader,
    trees: Sequence[QuestionTree],
    group: list[int],
    limits: PassLimits,
    *,
    prefixes: tuple[DynamicCache, Tensor] | None = None,
) -> Iterator[tuple[int, list[list[float]]]]:
    found: list[list[list[float]]] = [[[] for _ in trees[number].branches] for number in group]
    members = [
        (place, candidate)
        for place, number in enumerate(group)
        for candidate in range(len(trees[number].branches))
    ]

    def branch(member: tuple[int, int]) -> Branch:
        return trees[group[member[0]]].branches[member[1]]

    for part in _passes(members, lambda member: len(branch(member)), limits):
        branches = [branch(member) for member in part]
        shown = [trees[group[place]].images if prefixes is None else () for place, _ in part]
        batch = prm.processor.collate(
            [
                EncodedCoT(rows=(_as_row(one),), images=images)
                for one, images in zip(branches, shown, strict=True)
            ]
        )
        batch = _on_device(prm, batch)
        cache: Cache | None = None
        mask: Tensor | None = None
        if prefixes is not None:
            rows = torch.tensor([place for place, _ in part], device=prm.head.weight.device)
            cache = spread_over(prefixes[0], rows)
            mask = _attention(
                prm, branches, batch["input_ids"], before=prefixes[1][rows], width=cache.get_seq_length()
            )
        elif any(one.ancestors is not None for one in branches):
            mask = _attention(prm, branches, batch["input_ids"])
        hidden = last_hidden_states(prm.backbone, batch, cache=cache, mask=mask)  # (R, L, hidden)
        log_odds = prm.read(hidden[batch["step_rows"], batch["step_cols"]]).tolist()
        begin = 0
        for (place, candidate), one in zip(part, branches, strict=True):
            found[place][candidate] = log_odds[begin : begin + len(one.reads)]
            begin += len(one.reads)
    yield from zip(group, found, strict=True)


def _attention(
    prm: StepReader,
    branches: Sequence[Branch],
    input_ids: Tensor,
    *,
    before: Tensor | None = None,
    width: int = 0,
) -> Tensor:
    """`(R, 1, L, width + L)`, what each token attends to: its row's prefix and its ancestors.

    Args:
        before: `(R,)`, the lengths of the rows' prefixes, which are padded to `width`.
    """
    rows, length = input_ids.shape
    device = input_ids.device
    # Rows are padded at the end: if all of them are chains, a causal mask is all that is needed.
    own = torch.ones(length, length, dtype=torch.bool, device=device).tril().expand(rows, length, length)
    if any(branch.ancestors is not None for branch in branches):
        own = own.clone()
        for row, branch in enumerate(branches):
            if branch.ancestors is not None:
                own[row, : len(branch), : len(branch)] = torch.from_numpy(branch.ancestors).to(device)
    mask = own
    if before is not None:
        shown = torch.arange(width, device=device) < before[:, None]  # (R, width)
        mask = torch.cat([shown[:, None].expand(rows, length, width), own], dim=-1)
    mask = mask[:, None]
    if prm.backbone.config.get_text_config()._attn_implementation == "eager":
        # Eager attention adds its mask to the scores.
        dtype = prm.backbone.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)
    return mask


def whole_rows(
    questions: Sequence[Sequence[EncodedCoT]],
    measure: Callable[[list[EncodedCoT]], list[list[float]]],
    limits: PassLimits,
    *,
    wanted: Sequence[bool] | None = None,
) -> Iterator[tuple[int, list[list[float]]]]:
    """What `measure` returns for every candidate, each computed in full: nothing is shared between them.

    Args:
        measure: runs one pass and returns a list of values for each of its candidates.
        wanted: as in `scored_questions`.
    """
    found: list[list[list[float] | None]] = [[None] * len(candidates) for candidates in questions]
    members = [
        (number, place) for number, candidates in enumerate(questions) for place in range(len(candidates))
    ]

    def encoded(member: tuple[int, int]) -> EncodedCoT:
        return questions[member[0]][member[1]]

    def length(member: tuple[int, int]) -> int:
        rows = encoded(member).rows
        return len(rows) * max(len(row.input_ids) for row in rows)

    for part in _passes(members, length, limits):
        if wanted is not None and not any(wanted[number] for number, _ in part):
            continue
        for (number, place), values_of_one in zip(
            part, measure([encoded(member) for member in part]), strict=True
        ):
            found[number][place] = values_of_one
            whole = [values for values in found[number] if values is not None]
            if len(whole) == len(found[number]):
                yield number, whole


def _passes(
    members: Sequence[tuple[int, int]], length: Callable[[tuple[int, int]], int], limits: PassLimits
) -> Iterator[list[tuple[int, int]]]:
    """The members, sorted by length and split into passes within the limits."""
    part: list[tuple[int, int]] = []
    for member in sorted(members, key=length):
        if part and (len(part) == limits.rows or (len(part) + 1) * length(member) > limits.tokens):
            yield part
            part = []
        part.append(member)
    if part:
        yield part


def _as_row(branch: Branch) -> EncodedRow:
    return EncodedRow(branch.input_ids, branch.token_types, branch.positions, branch.reads)


def _on_device(prm: StepReader, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(prm.head.weight.device) for name, value in batch.items()}


class SpreadLayer(CacheLayerMixin):
    """One layer's prefixes, put in front of the rows' own keys and values; nothing of the rows is kept.

    The library would copy the prefix for every row in all layers at once: for eight candidates after a prefix
    of 336 tokens, Qwen2-VL-2B in bf16 would need 77 MB instead of 3 MB.

    Args:
        prefixes: the layer after the pass over the prefixes, `(prefixes, heads, tokens, size)` each.
        rows: `(rows,)` long, the index of the prefix that each row continues.
    """

    def __init__(self, prefixes: DynamicLayer, rows: Tensor) -> None:
        super().__init__()
        assert prefixes.keys is not None and prefixes.values is not None
        self.keys, self.values, self._rows = prefixes.keys, prefixes.values, rows
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Does nothing: the prefixes are already there."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The rows' keys and values after those of their prefixes, `(rows, heads, tokens, size)`."""
        del args, kwargs
        assert self.keys is not None and self.values is not None
        keys, values = (
            torch.cat([held.index_select(0, self._rows), own], dim=-2)
            for held, own in ((self.keys, key_states), (self.values, value_states))
        )
        return keys, values

    def get_seq_length(self) -> int:
        """Number of tokens in the prefixes, including padding."""
        assert self.keys is not None
        return int(self.keys.shape[-2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The total number of keys, and their offset."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


def spread_over(prefixes: DynamicCache, rows: Tensor) -> Cache:
    """A cache for one pass over rows that continue these prefixes.

    Args:
        prefixes: filled by the pass over the prefixes; not modified.
        rows: `(rows,)` long, the index of each row's prefix.
    """
    layers = []
    for layer in prefixes.layers:
        assert isinstance(layer, DynamicLayer), f"a {type(layer).__name__} does not hold a whole prefix"
        layers.append(SpreadLayer(layer, rows))
    return Cache(layers=list(layers))
