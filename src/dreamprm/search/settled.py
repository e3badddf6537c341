r"""The sequential test of best-of-N with early stopping: is the answer of all N draws settled?

The N draws of a question are exchangeable: they differ by their seeds alone. Draw i has an answer a_i and a
weight w_i in [0, 1], and the answer of all N is W = argmax_a sum_i w_i [a_i = a]. For two answers A and B let

    x_i = w_i ([a_i = A] - [a_i = B]) in [-1, 1],    S_t = x_1 + ... + x_t,    m_t = -S_{t-1} / (N - t + 1).

If B = W, then S_N <= 0, and as the remaining draws are a random order of what is left,

    E[x_t | x_1 .. x_{t-1}] = (S_N - S_{t-1}) / (N - t + 1) <= m_t,

so for every bet c in (0, 1] the wealth K_t = prod_{s <= t} (1 + c (x_s - m_s) / (1 + m_s)) is a non-negative
supermartingale that begins at 1, and so is a mean over several bets. By Ville's inequality it ever reaches
1 / e with probability at most e. The j-th answer to appear gets e_j = error / (j (j + 1)), which sum to
error, and its wealth begins at its first appearance. Draws stop once the leader's wealth has reached 1 / e_j
against every other answer, those not seen yet included. If the leader is not W, its wealth against W has
reached it too; hence

    P(the answer at the stop is not the answer of all N draws) <= error,

for every question, whatever the generator and the scorer. Where S_t > N - t nothing that may come can change
the answer, which is settled without error; with error = 0 that alone stops.

Source: the betting martingale for sampling without replacement of Waudby-Smith and Ramdas (arXiv 2010.09686,
2006.04347), as in risk-limiting election audits; the union over leaders is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

BETS = (0.1, 0.3, 0.6, 1.0)
"""c: the largest gains most while all draws agree, the smaller ones survive a draw that does not."""


@dataclass
class SettledVote:
    """Takes the draws of one question in order, and says whether the answer of all N is settled.

    Args:
        n: N, the draws there would be, >= 1.
        error: largest probability that the settled answer is not that of all N draws, in [0, 1).

    Raises:
        ValueError: n is below 1, or error outside [0, 1).
    """

    n: int
    error: float
    _votes: list[tuple[str | None, float]] = field(default_factory=list, init=False)
    _totals: dict[str, float] = field(default_factory=dict, init=False)  # in order of appearance

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be >= 1, got {self.n}")
        if not 0 <= self.error < 1:
            raise ValueError(f"error must be in [0, 1), got {self.error}")

    def draw(self, answer: str | None, weight: float) -> None:
        """Take the next draw.

        Args:
            answer: the name of its answer; None: it has none, and no vote.
            weight: of its vote, in [0, 1].

        Raises:
            ValueError: there were n draws already, or the weight is outside [0, 1].
        """
        if len(self._votes) == self.n:
            raise ValueError(f"there were n={self.n} draws already")
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be in [0, 1], got {weight}")
        self._votes.append((answer, weight))
        if answer is not None:
            self._totals[answer] = self._totals.get(answer, 0.0) + weight

    @property
    def leader(self) -> str | None:
        """The answer with the largest weight so far, the first to appear among equals; None without any."""
        return max(self._totals, key=lambda answer: self._totals[answer], default=None)

    def settled(self) -> bool:
        """Whether the leader may be taken for the answer of all N draws."""
        if len(self._votes) == self.n:
            return True
        leader = self.leader
        if leader is None:
            return False
        rank = list(self._totals).index(leader) + 1
        needed = rank * (rank + 1) / self.error if self.error else math.inf
        rivals: list[str | None] = [*(answer for answer in self._totals if answer != leader), None]
        return all(self._certain(leader, rival) or self._wealth(leader, rival) >= needed for rival in rivals)

    def _lead(self, leader: str, rival: str | None) -> float:
        return self._totals[leader] - (0.0 if rival is None else self._totals[rival])

    def _certain(self, leader: str, rival: str | None) -> bool:
        return self._lead(leader, rival) > self.n - len(self._votes)

    def _wealth(self, leader: str, rival: str | None) -> float:
        """The largest wealth so far of the bets that the leader's total is above the rival's.

        A rival of None is every answer that has not been seen.
        """
        if self._lead(leader, rival) <= 0:
            return 0.0
        wealth = [1.0] * len(BETS)
        most = 1.0
        for x, mean in self._outcomes(leader, rival):
            if 1 + mean <= 0:
                continue  # all that is left would have to be the rival's; `_certain` sees the rest
            gain = (x - mean) / (1 + mean)
            wealth = [held * max(0.0, 1 + bet * gain) for held, bet in zip(wealth, BETS, strict=True)]
            most = max(most, sum(wealth) / len(wealth))
        return most

    def _outcomes(self, leader: str, rival: str | None) -> Iterator[tuple[float, float]]:
        """(x_t, m_t) of each draw after the leader's first."""
        lead, begun = 0.0, False
        for number, (answer, weight) in enumerate(self._votes):
            x = weight if answer == leader else -weight if answer is not None and answer == rival else 0.0
            if begun:
                yield x, -lead / (self.n - number)
            lead += x
            begun = begun or answer == leader


def settled_by_score(drawn: int, n: int, error: float) -> bool:
    """Whether the highest-scored of the draws so far may be taken for that of all N.

    The first of the highest-scored draws is among the first t of N exchangeable ones with probability at
    least t / N, and no better bound holds for all scorers and generators: so it is settled once
    t >= (1 - error) N.
    """
    return drawn >= (1 - error) * n
