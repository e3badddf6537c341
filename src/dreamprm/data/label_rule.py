"""What training makes of the labels in a file: soft or hard ones, with or without those after an error."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamprm.data.records import StepRecord

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class LabelRule:
    """From the label y of each step to the one that is trained on; a step without one stays without.

        hard   1 if y > threshold, else 0
        mask   none after the CoT's first error: its first step with y <= threshold, which keeps its label

    A step is right if its label is above the threshold. At threshold 0 that is a step from which any
    completion came right, which most published hard labels mean. A step without a label is no error.

    Applied twice, a rule gives what it gave the first time.

    Source: hard labels as in Math-Shepherd (arXiv 2312.08935) and VisualPRM (arXiv 2503.10291); no labels
    after the first error as in PRM800K (arXiv 2305.20050).
    """

    hard: bool = False
    threshold: float = 0.0
    mask: bool = False

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.hard or self.mask

    def of_steps(self, labels: Floats, rows: Integers) -> Floats:
        """The labels of many CoTs at once.

        Args:
            labels: `(S,)`, of each CoT's steps in order, one CoT after another; NaN: not labelled.
            rows: `(S,)`, the number of each step's CoT.

        Returns:
            `(S,)`, a new array.
        """
        found = np.array(labels, dtype=np.float64)
        if self.mask and found.size:
            places = np.arange(found.size)
            errors = found <= self.threshold  # False for NaN
            first = np.full(int(rows.max()) + 1, found.size)
            np.minimum.at(first, rows[errors], places[errors])
            found[places > first[rows]] = np.nan
        if self.hard:
            known = ~np.isnan(found)
            found[known] = found[known] > self.threshold
        return found

    def of_record(self, record: StepRecord) -> StepRecord:
        """The record with its labels changed."""
        given = np.array([np.nan if label is None else label for label in record.labels])
        found = self.of_steps(given, np.zeros(given.size, dtype=np.int64))
        labels = tuple(None if np.isnan(label) else float(label) for label in found)
        return dataclasses.replace(record, labels=labels)


@dataclass(frozen=True)
class LabelCounts:
    """What a rule did to the labels of a table.

    Attributes:
        right, wrong: labels that are left, above the threshold and not.
        changed: labels that have another value than in the file.
        masked: labels that were taken away; `masked_cots`: of how many CoTs.
    """

    right: int
    wrong: int
    changed: int
    masked: int
    masked_cots: int

    @classmethod
    def of(cls, rule: LabelRule, labels: Floats, rows: Integers) -> LabelCounts:
        """The counts for labels as `LabelRule.of_steps` takes them."""
        found = rule.of_steps(labels, rows)
        before, left = ~np.isnan(labels), ~np.isnan(found)
        right = int((found[left] > rule.threshold).sum())
        masked = before & ~left
        return cls(
            right=right,
            wrong=int(left.sum()) - right,
            changed=int((found[left] != labels[left]).sum()),
            masked=int(masked.sum()),
            masked_cots=int(np.unique(rows[masked]).size),
        )
