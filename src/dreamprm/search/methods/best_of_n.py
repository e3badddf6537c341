"""Whole chains, drawn until the answer of all n is settled."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.search.chains import ROOT, Chain
from dreamprm.search.methods.base import Ask, Plan, SearchMethod, check_size, choose_setting, probability
from dreamprm.search.settled import SettledVote, settled_by_score


@dataclass(frozen=True)
class BestOfN(SearchMethod):
    """n whole chains of the question, fewer where the answer is settled before.

        P(the answer when it stops differs from the answer of all n chains) <= error

    holds for every question by a sequential test (`dreamprm.search.settled`) that needs no assumption on
    generator and scorer. Use it first: it is the cheapest to set up, and every other method has to beat it at
    equal tokens. It spends nothing on partial chains, so that it cannot leave a bad beginning early.

    With votes, questions on which the draws agree stop after a few of them. With choose=score no test can
    stop before (1 - error) n draws without assumptions, since the best chain may always be the last.

    Args:
        choose: as in `SearchMethod`.
        error: the bound; 0 stops only where nothing could change the answer; None draws all n.
        batch: chains drawn between two tests, >= 1: 1 draws fewest, more of them run at once.

    Raises:
        ValueError: a setting is out of range.
    """

    choose: str = choose_setting("weighted_vote")
    error: float | None = setting(
        0.05,
        "largest probability that the answer at an early stop is not that of all n chains; 0: stop only "
        "where nothing could change it; null: always draw all n",
        minimum=0,
        below=1,
    )
    batch: int = setting(4, "chains drawn between two tests of whether to stop", minimum=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def plan(self, n: int) -> Plan:
        """See `SearchMethod.plan`.

        Raises:
            ValueError: n is below 1.
        """
        check_size(n)
        return self._draws(n)

    def _draws(self, n: int) -> Plan:
        if self.error is None:
            yield [Ask(ROOT, n, whole=True)]
            return
        test = SettledVote(n, self.error)
        drawn = 0
        while drawn < n:
            count = min(self.batch, n - drawn)
            (chains,) = yield [Ask(ROOT, count, whole=True)]
            drawn += count
            votes: list[Chain | None] = [*chains, *[None] * (count - len(chains))]
            for chain in votes:
                test.draw(*self._vote(chain))
            done = settled_by_score(drawn, n, self.error) if self.choose == "score" else test.settled()
            if done:
                return

    def _vote(self, chain: Chain | None) -> tuple[str | None, float]:
        if chain is None or chain.vote is None:
            return None, 0.0
        return chain.vote, probability(chain.value) if self.choose == "weighted_vote" else 1.0
