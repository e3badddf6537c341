"""Binary search for the first step from which no rollout ends right."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.labelling.rollouts.base import Ask, LabelMethod, Plan, StepLabel, Tally, check_prefixes

FILLS = ("null", "next")


@dataclass(frozen=True)
class FirstError(LabelMethod):
    """OmegaPRM's search: the middle prefix gets n rollouts; where one ends right the error is later.

    Invariant: from step `low` some rollout ended right (0 is the question itself, taken to be solvable), from
    step `high` none did (the complete chain, which is wrong, at first). The search ends with
    high = low + 1, the first error, after at most ceil(log2(prefixes + 1)) rounds of one prefix each.

    Use it for long chains of which the place of the first error is all that is wanted: its cost grows with
    the logarithm of the length. Not for training on p_i of every step: few steps are visited, and only in
    wrong chains. n rollouts miss a value p with probability (1 - p)^n, so with few of them a hard step is
    taken for an error.

    A chain that is right holds no such step, as it is itself a rollout from each of its prefixes that ended
    right: nothing is asked for. Where `correct` is None the chain is searched as if it were wrong.

    Args:
        rollouts: n, from each visited prefix.
        fill: what a step gets that was not visited. `null`: no label, since nothing was measured there.
            `next`: the label of the next visited step, and of the complete chain (1 right, 0 wrong) where
            none follows. That is the paper's reading: steps between two visited states form one edge of its
            tree, and the state at its end holds the estimate. After the first error it gives 0, as it must
            be; before it, a value that later steps may have lowered.

    Visited steps keep their shares right / total (the paper's soft labels).

    Raises:
        ValueError: rollouts is no whole number >= 1, or an unknown fill.

    Source: Luo et al., arXiv 2406.06592, section 3 (the binary search alone, without the tree
    search that chooses which rollouts are searched).
    """

    rollouts: int = setting(8, "rollouts from each visited prefix", minimum=1)
    fill: str = setting(
        "null",
        "a step that was not visited gets no label, or the label of the next visited step",
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
                break  # None of its rollouts counts, so that neither half is known to hold the error.
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
