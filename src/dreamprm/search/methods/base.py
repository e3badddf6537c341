"""What all search methods have in common: they ask for continuations, and choose among complete chains."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator as PythonGenerator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import setting
from dreamprm.search.chains import Chain

CHOICES = ("score", "weighted_vote", "vote")


@dataclass(frozen=True)
class Ask:
    """`count` continuations of a chain, by one step, or with `whole` to the end of the response."""

    prefix: Chain
    count: int
    whole: bool = False


Plan = PythonGenerator[Sequence[Ask], Sequence[Sequence[Chain]], None]
"""Yields rounds of asks (the asks of a round are served together) and is sent the chains of each in the same
order, scored. Fewer chains than asked for come back where a generator said nothing or a chain could not be
scored. It depends on no clock, file or model, so that an interrupted plan can be replayed. It ends when it
has nothing more to ask; it is closed before that if its tokens are spent."""


def choose_setting(default: str) -> Any:
    """The declaration of `choose`, for every method."""
    return setting(
        default,
        "which complete chain is the answer. score: the one with the highest score; vote: the best-scored "
        "one with the most frequent answer; weighted_vote: with the answer of the most weight, where a chain "
        "weighs the probability that its score stands for",
        choices=CHOICES,
    )


class SearchMethod(ABC):
    """A way to spend continuations on one question.

    Attributes:
        choose: one of `CHOICES`.
    """

    choose: str

    @abstractmethod
    def plan(self, n: int) -> Plan:
        """Plan the search for one question.

        Args:
            n: the size of the search, `budget.n`, >= 1: how many chains are drawn, or held at a time.
        """

    def chosen(self, chains: Sequence[Chain]) -> int | None:
        """The index of the chain that is the answer; the first of equals; None if there are none.

        Where votes decide and no chain states an answer, the highest score does. A chain that was cut off is
        taken only if all were.

        Args:
            chains: complete and scored.
        """
        voters = [chain for chain in chains if chain.vote is not None]
        totals: dict[str, float] = {}
        if self.choose != "score":
            for chain in voters:
                assert chain.vote is not None
                weight = probability(chain.value) if self.choose == "weighted_vote" else 1.0
                totals[chain.vote] = totals.get(chain.vote, 0.0) + weight
        winner = max(totals, key=lambda vote: totals[vote], default=None)
        among = [i for i, chain in enumerate(chains) if winner is None or chain.vote == winner]
        among = [i for i in among if not chains[i].cut_off] or among
        return max(among, key=lambda i: chains[i].value, default=None)


def probability(log_odds: float) -> float:
    """1 / (1 + exp(-z)), without overflow."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    grown = math.exp(log_odds)
    return grown / (1 + grown)


def check_size(n: int) -> None:
    """Validate the size of a search.

    Raises:
        ValueError: it is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}; it is the number of chains")
