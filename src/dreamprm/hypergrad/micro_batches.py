"""Batches evaluated in parts, one part's graph in memory at a time: shares, checks, and sums."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

# How far the shares of a mean's parts may be from 1 in all: a float32 sum of a thousand of them.
ROUNDING = 1e-5


class Part(NamedTuple):
    """One part of a batch, and what it contributes to the losses of the whole batch.

    A scalar loss (a plain inner_loss, unweighted_loss, outer_loss) of the batch is the sum over its parts of
    share * loss(part). The vector of inner_losses of a structured problem is that of the parts one after the
    other, unless `losses` says which of the batch's losses each of the part's belongs to.
    """

    batch: Any
    """What the losses receive in place of the whole batch."""
    share: float | None = None
    """Of this part in a mean: its rows over the batch's rows, say. The parts' shares sum to 1; or each is
    exactly 1, for losses that are sums. Not read where a structured problem has no scalar inner term."""
    losses: Sequence[tuple[int, float]] | None = None
    """For each of the part's inner losses (i, share of it): loss_i of the batch is the sum over all parts of
    share * the losses that name i. For a loss that is a mean over rows which lie in several parts."""


def check_parts(parts: Any, *, scalar: str | None, vector: bool, given: str) -> list[Part]:
    """The parts that a user's function returned, each as a `Part`.

    Args:
        parts: what was returned.
        scalar: name of a scalar loss that is added up by shares; None: there is none.
        vector: whether the losses of a structured problem are put together from the parts.
        given: name of the user's function.

    Raises:
        ValueError: no parts, shares that are missing or do not sum to 1, or losses that do not tally.
    """
    if not isinstance(parts, Iterable):
        raise ValueError(f"{given} must return a list of parts of the batch, got {type(parts).__name__}")
    found = [part if isinstance(part, Part) else Part(part) for part in parts]
    if not found:
        raise ValueError(f"{given} returned no part of the batch; return [batch] to leave it whole")
    if len(found) > 1 and scalar is not None:
        _check_shares([part.share for part in found], given=given, scalar=scalar)
    if len(found) > 1 and vector:
        _check_losses(found, given=given)
    return found


def _check_shares(shares: list[float | None], *, given: str, scalar: str) -> None:
    advice = "give Part(batch, share=rows of the part / rows of the batch)"
    for share in shares:
        if share is None:
            raise ValueError(
                f"{given} must say how much each part counts in {scalar}, got one without a share; {advice}"
            )
        if not (isinstance(share, int | float) and share >= 0.0 and math.isfinite(share)):
            raise ValueError(f"{given}: a part's share must be a finite number >= 0, got {share!r}; {advice}")
    total = math.fsum(share for share in shares if share is not None)
    if abs(total - 1.0) > ROUNDING and any(share != 1.0 for share in shares):
        raise ValueError(
            f"{given}: the shares of the parts sum to {total:.6g}, not to 1; {advice}, or share=1 for every "
            f"part where {scalar} is a sum over rows"
        )


def _check_losses(parts: list[Part], *, given: str) -> None:
    named = [part.losses for part in parts if part.losses is not None]
    if not named:
        return
    if len(named) < len(parts):
        raise ValueError(
            f"{given}: {len(named)} of {len(parts)} parts have `losses`; give it for every part, or for none "
            "(their losses one after the other)"
        )
    sums: dict[int, float] = {}
    for losses in named:
        for index, share in losses:
            if not (isinstance(index, int) and index >= 0 and share >= 0.0 and math.isfinite(share)):
                raise ValueError(
                    f"{given}: `losses` must be pairs (index >= 0, share >= 0), got {(index, share)!r}"
                )
            sums[index] = sums.get(index, 0.0) + float(share)
    missing = [index for index in range(max(sums, default=0) + 1) if index not in sums]
    if missing:
        raise ValueError(f"{given}: no part has a share of the batch's loss {missing[0]}; indices start at 0")
    for index, total in sums.items():
        if abs(total - 1.0) > ROUNDING and any(
            share != 1.0 for losses in named for i, share in losses if i == index
        ):
            raise ValueError(
                f"{given}: the shares of the batch's loss {index} sum to {total:.6g}, not to 1; give its "
                "rows in the part over its rows in the batch"
            )


@dataclass(frozen=True)
class Place:
    """Where the losses of one part stand among the losses of the batch."""

    index: list[int]
    shares: list[float] | None

    def weights(self, weights: Tensor) -> Tensor:
        """(n_part,) what each of the part's losses is multiplied with, from the weights (n,) of the batch."""
        index = torch.tensor(self.index, device=weights.device)
        chosen = weights.index_select(0, index)
        return chosen if self.shares is None else chosen * chosen.new_tensor(self.shares)


def place_of(part: Part, *, start: int, size: int) -> Place:
    """The place of a part with `size` losses, `start` losses having come before it.

    Raises:
        ValueError: its `losses` name another number of losses than it returned.
    """
    if part.losses is None:
        return Place(list(range(start, start + size)), None)
    if len(part.losses) != size:
        raise ValueError(
            f"a part of the batch returned {size} inner losses, but its `losses` has {len(part.losses)} "
            "pairs; give one pair for each"
        )
    return Place([index for index, _ in part.losses], [float(share) for _, share in part.losses])


def whole_losses(parts: Sequence[Part], each: Sequence[Tensor]) -> Tensor:
    """(n,) the losses of the batch, from the vectors of its parts."""
    if parts[0].losses is None:
        return torch.cat(list(each))
    places = [place_of(part, start=0, size=losses.numel()) for part, losses in zip(parts, each)]
    whole = each[0].new_zeros(1 + max(max(place.index, default=0) for place in places))
    for place, losses in zip(places, each):
        index = torch.tensor(place.index, device=losses.device)
        whole = whole.index_add(0, index, losses * losses.new_tensor(place.shares))
    return whole


def share_of(part: Part) -> float:
    """The share of a part in the scalar losses of its batch."""
    assert part.share is not None, "checked by check_parts"
    return part.share


def single_loss(parts: Sequence[Part]) -> bool:
    """Whether the batch has one loss that is spread over several parts, each having one share of it."""
    return all(part.losses is not None and [index for index, _ in part.losses] == [0] for part in parts)


def summed(parts: Iterable[list[Tensor]]) -> list[Tensor]:
    """The sums over the parts, entry by entry; a part is let go before the next one is computed."""
    total: list[Tensor] | None = None
    for part in parts:
        if total is None:
            total = part
        else:
            for i, tensor in enumerate(part):
                total[i] = total[i] + tensor
        del part
    assert total is not None, "no parts"
    return total
