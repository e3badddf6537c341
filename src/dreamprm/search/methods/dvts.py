"""Several independent trees, in each of which the best-scored step is followed."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.search.chains import ROOT
from dreamprm.search.methods.base import Ask, Plan, SearchMethod, check_size, choose_setting


@dataclass(frozen=True)
class DiverseTrees(SearchMethod):
    """Diverse verifier tree search: n / expand trees, each of which continues its best of `expand` steps.

    Use it instead of `beam` for large n: the trees do not compete, so that one error of the scorer does not
    take them all, and their ends can vote. At small n, `beam` uses its places better.

    Args:
        choose: as in `SearchMethod`, among all complete chains.
        expand: continuations at each step of a tree, >= 1; n is rounded down to a multiple of it.

    Raises:
        ValueError: a setting is out of range.

    Source: Beeching, Tunstall and Rush, "Scaling test-time compute with open models" (2024).
    """

    choose: str = choose_setting("weighted_vote")
    expand: int = setting(4, "continuations at each step of a tree", minimum=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def plan(self, n: int) -> Plan:
        """See `SearchMethod.plan`.

        Raises:
            ValueError: n is below 1.
        """
        check_size(n)
        return self._trees(n)

    def _trees(self, n: int) -> Plan:
        tips = [ROOT] * max(1, n // self.expand)
        each = min(self.expand, n)
        while tips:
            grown = yield [Ask(tip, each) for tip in tips]
            best = [max(chains, key=lambda chain: chain.value) for chains in grown if chains]
            tips = [chain for chain in best if not chain.complete]
