"""Monte-Carlo tree search over steps, with the scorer's probabilities as values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.search.chains import ROOT, Chain, distinct
from dreamprm.search.methods.base import Ask, Plan, SearchMethod, check_size, choose_setting, probability


@dataclass(eq=False)
class _Node:
    chain: Chain
    above: _Node | None = None
    below: list[_Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    closed: bool = False  # nothing in it is left to expand

    @property
    def mean(self) -> float:
        return self.total / self.visits

    def path(self) -> Iterator[_Node]:
        """The node and those above it."""
        node: _Node | None = self
        while node is not None:
            yield node
            node = node.above


@dataclass(frozen=True)
class TreeSearch(SearchMethod):
    """Expands the most promising beginning, one after another, until n chains are complete.

    Each round goes down from the question to a beginning that has not been expanded, always to the child with
    the largest

        Q + exploration * sqrt(ln(visits of the parent) / visits),    Q: mean of the values in it,

    and draws `expand` next steps of it. A step's value is the probability that the scorer gives its
    beginning; it counts for all nodes above it. There are no rollouts: the scorer stands in for them.

    Use it for few, hard questions: it can return to a beginning that it left, which `beam` cannot, but asks
    one beginning at a time, so that a question takes many rounds.

    Args:
        choose: as in `SearchMethod`, among all complete chains.
        expand: continuations of a beginning when it is expanded, >= 1.
        exploration: weight of what has been visited little, >= 0.
        expansions: stop after so many expansions for each of the n chains, >= 1. If no chain is complete by
            then, the best beginning is continued to its end.

    Raises:
        ValueError: a setting is out of range.

    Source: UCT (Kocsis and Szepesvari, 2006), with a verifier's values in place of rollouts as in AlphaMath
    (arXiv 2405.03553).
    """

    choose: str = choose_setting("weighted_vote")
    expand: int = setting(3, "continuations of a beginning when it is expanded", minimum=1)
    exploration: float = setting(0.5, "weight of beginnings that were visited little", minimum=0)
    expansions: int = setting(4, "expansions for each of the n chains before it stops", minimum=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def plan(self, n: int) -> Plan:
        """See `SearchMethod.plan`.

        Raises:
            ValueError: n is below 1.
        """
        check_size(n)
        return self._search(n)

    def _search(self, n: int) -> Plan:
        root = _Node(ROOT)
        complete = 0
        for _ in range(self.expansions * n):
            if root.closed or complete >= n:
                break
            leaf = self._leaf(root)
            (chains,) = yield [Ask(leaf.chain, self.expand)]
            complete += sum(chain.complete for chain in chains)
            _grow(leaf, chains)
        if not complete and (tips := [node for node in _all(root) if not node.below and node.visits]):
            yield [Ask(max(tips, key=lambda node: node.mean).chain, 1, whole=True)]

    def _leaf(self, root: _Node) -> _Node:
        node = root
        while node.below:
            parent = node
            node = max(
                (child for child in parent.below if not child.closed),
                key=lambda child: (
                    child.mean + self.exploration * math.sqrt(math.log(parent.visits) / child.visits)
                ),
            )
        return node


def _grow(leaf: _Node, chains: Sequence[Chain]) -> None:
    """Add the chains below a node, count their values above it, and close what is exhausted."""
    leaf.below = [_Node(chain, leaf, closed=chain.complete) for chain in distinct(chains)]
    for child in leaf.below:
        value = probability(child.chain.value)
        for node in child.path():
            node.visits += 1
            node.total += value
    for node in leaf.path():
        node.closed = all(child.closed for child in node.below)
        if not node.closed:
            break


def _all(root: _Node) -> Iterator[_Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.below
