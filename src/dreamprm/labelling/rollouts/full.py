"""The same number of rollouts from every prefix."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.labelling.rollouts.base import Ask, LabelMethod, Plan, StepLabel, check_prefixes


@dataclass(frozen=True)
class Full(LabelMethod):
    """p_i = (1 / n) * sum over n rollouts from the prefix step_1..step_i of [final answer is right].

    Use it if every step's label must be unbiased, whoever wrote the chain: a label depends only on the
    prefix's own rollouts. It is the most expensive method; all rollouts are asked for in one round.

    Args:
        rollouts: n, from each prefix. The standard error of p_i is sqrt(p_i (1 - p_i) / n), at most
            0.18 for 8.

    Raises:
        ValueError: rollouts is not an integer >= 1.

    Source: DreamPRM (arXiv 2505.20241), section 3; Math-Shepherd (arXiv 2312.08935).
    """

    rollouts: int = setting(
        8, "rollouts from each prefix", minimum=1, advice="the paper's labels are shares of several"
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        """See `LabelMethod.plan`. A prefix gets no label if none of its rollouts counts.

        Raises:
            ValueError: prefixes is negative.
        """
        del correct
        check_prefixes(prefixes)
        return self._steps(prefixes)

    def _steps(self, prefixes: int) -> Plan:
        if not prefixes:
            return []
        tallies = yield [Ask(step, self.rollouts) for step in range(1, prefixes + 1)]
        return [
            StepLabel(tally.right / tally.total if tally.total else None, tally.total) for tally in tallies
        ]
