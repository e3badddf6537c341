"""Binary search for the first step from which no rollout ends right."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.labelling.rollouts.base import Ask, LabelMethod, Plan, StepLabel, Tally, check_prefixes

FILLS = ("null", "next")


@dataclass(frozen=True)
class FirstError(LabelMethod):
    """OmegaPRM's search: the middle prefix gets n rollouts; if one of them ends right, the error is later.

    Invariant: some rollout from step `low` ended right (0 is the question itself, assumed to be solvable),
    and none from step `high` did (initially the complete chain, which is wrong). The search ends with high =
    low + 1, the first error, after at most ceil(log2(prefixes + 1)) rounds of one prefix each.

    Use it for long chains if only the position of the first error matters: its cost grows with the logarithm
    of the length. Do not use it to train on p_i of every step: few steps are visited, and only in wrong
    chains. n rollouts miss a value p with probability (1 - p)^n, so with few of them a hard step is mistaken
    for an error.

    A right chain has no such step, because it is itself a rollout that ended right from each of its prefixes:
    nothing is asked for. If `correct` is None, the chain is searched as if it were wrong.

    Args:
        rollouts: n, from each visited prefix.
        fill: the label of a step that was not visited. `null`: no label, because nothing was measured there.
            `next`: the label of the next visited step, or of the complete chain (1 right, 0 wrong) if no
            visited step follows. This follows the paper: steps between two visited states form one edge of
            its tree, and the state at its end holds the estimate. After the first error this gives 0, as it
            should; before it, a value that later steps may have lowered.

    Visited steps keep their shares right / total (the paper's soft labels).

    Raises:
        ValueError: rollouts is not an integer >= 1, or fill is unknown.

    Source: Luo et al., arXiv 2406.06592, section 3 (the binary search alone, without the tree
    search that chooses which rollouts are searched).
    """

    rollouts: int = setting(8, "rollouts from each visited prefix", minimum=1)
    fill: str = setting(
        "null",
        "the label of a step that was not visited: null: none; next: the label of the next visited step",
        choices=FILLS,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        """See `LabelMethod.plan`.

        Raises:
            ValueError: prefixes is negative.
        """
        check_prefixes(prefixes)
        return self._search(prefixes, correct)

    def _search(self, prefixes: int, correct: bool | None) -> Plan:
        found: dict[int, Tally] = {}
        low, high = 0, prefixes + 1
        while not correct and high - low > 1:
            middle = (low + high) // 2
            (tally,) = yield [Ask(middle, self.rollouts)]
            if not tally.total:
                break  # None of its rollouts counts, so neither half is known to contain the error.
            found[middle] = tally
            low, high = (middle, high) if tally.right else (low, middle)
        labels = []
        value = None if correct is None or self.fill == "null" else float(correct)
        for step in range(prefixes, 0, -1):
            if step in found:
                share = found[step].right / found[step].total
                labels.append(StepLabel(share, found[step].total))
                value = share if self.fill == "next" else None
            else:
                labels.append(StepLabel(value, 0))
        return labels[::-1]
