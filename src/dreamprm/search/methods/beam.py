"""Step by step, only the best-scored beginnings are continued."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.search.chains import ROOT, distinct
from dreamprm.search.methods.base import Ask, Plan, SearchMethod, check_size, choose_setting


@dataclass(frozen=True)
class Beam(SearchMethod):
    """At each step n continuations are scored, and the best n / expand of them continued `expand` times each.

    Use it where the scorer is good at single steps and errors come early: a bad beginning costs one step, not
    a whole chain. Its chains soon share one beginning, so if the scorer is wrong about it, all of them are;
    `dvts` is the safer choice for large n.

    The first step has n continuations of the question. A complete chain that is among the best keeps its
    place; the search ends when all places are taken by complete chains. Equal texts take one place.

    Args:
        choose: as in `SearchMethod`, among all complete chains, those that lost their place included.
        expand: continuations of each kept beginning, >= 1; n is rounded down to a multiple of it.

    Raises:
        ValueError: a setting is out of range.

    Source: Snell et al., arXiv 2408.03314, section 5.
    """

    choose: str = choose_setting("score")
    expand: int = setting(4, "continuations of each beginning that is kept", minimum=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def plan(self, n: int) -> Plan:
        """See `SearchMethod.plan`.

        Raises:
            ValueError: n is below 1.
        """
        check_size(n)
        return self._steps(n)

    def _steps(self, n: int) -> Plan:
        places = max(1, n // self.expand)
        each = min(self.expand, n)
        held = yield [Ask(ROOT, places * each)]
        finished: list = []
        while True:
            fresh = [chain for chains in held for chain in chains]
            ranked = sorted(distinct([*finished, *fresh]), key=lambda chain: -chain.value)[:places]
            finished = [chain for chain in ranked if chain.complete]
            live = [chain for chain in ranked if not chain.complete]
            if not live:
                return
            held = yield [Ask(chain, each) for chain in live]
