"""Do trivial features give away the labels of a meta or candidate set?"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dreamprm.config.errors import DataError
from dreamprm.data.rank_statistics import auc
from dreamprm.data.records import CandidateRecord, MetaRecord
from dreamprm.responses import final_answer

AUDIT_BOUND = 0.65
"""The AUC above which a trivial feature is worth a warning."""

_FEATURES = ("has steps", "number of steps", "length in characters", "has a final answer")


@dataclass(frozen=True)
class ShortcutAudit:
    """How well trivial features predict the label.

    Attributes:
        right: number of right chains of thought.
        wrong: number of wrong ones.
        auc: by feature, the area under the ROC curve in the direction that predicts better, in [0.5, 1];
            empty if there is only one class. 0.5 predicts nothing, 1 gives away every label.
    """

    right: int
    wrong: int
    auc: dict[str, float]

    def warnings(self, bound: float = AUDIT_BOUND) -> list[str]:
        """What to print: nothing if no feature is above `bound`, else the figures and what to do."""
        above = {name: value for name, value in self.auc.items() if value > bound}
        if not above:
            return []
        figures = ", ".join(f"{name} {value:.2f}" for name, value in above.items())
        return [
            f"trivial features predict the label of {self.right} right and {self.wrong} wrong answers with"
            f" an AUC above {bound:.2f} (0.5 is chance): {figures}. Weights or selectors can rely on these"
            " instead of the reasoning; balance right and wrong answers in these features, or leave out the"
            " records that differ (stepless=skip for those without steps)."
        ]


def audit_shortcuts(records: Iterable[MetaRecord | CandidateRecord]) -> ShortcutAudit:
    """Measure how well features that say nothing about the reasoning predict whether an answer is right.

    The features: has steps, number of steps, length in characters, has a final answer. For each, the AUC is
    the share of (right, wrong) pairs that it orders correctly, with ties counting half; the larger of AUC and
    1 - AUC is reported, since a shortcut works in both directions. Run the audit on every meta and candidate
    set before using it: in the public DreamPRM meta file, "has steps" alone reaches .76.

    Args:
        records: meta records, or candidate records; candidates without a known label are left out.

    Returns:
        The counts and the AUC by feature. Small sets reach high values by chance: with 10 right and 10 wrong
        answers, an uninformative feature exceeds .65 about one time in four.
    """
    labels = array("b")
    features = tuple(array("d") for _ in _FEATURES)
    for text, steps, has_answer, correct in _answers(records):
        labels.append(correct)
        for column, value in zip(features, (steps > 0, steps, len(text), has_answer), strict=True):
            column.append(value)
    right = sum(labels)
    wrong = len(labels) - right
    if not right or not wrong:
        return ShortcutAudit(right, wrong, {})
    is_right = np.array(labels, dtype=bool)
    columns = map(np.array, features)
    found = {name: auc(values, is_right) for name, values in zip(_FEATURES, columns, strict=True)}
    return ShortcutAudit(right, wrong, {name: max(value, 1 - value) for name, value in found.items()})


def require_both_classes(records: Iterable[MetaRecord]) -> tuple[int, int]:
    """Reject a meta set of only right or only wrong answers: its loss has nothing to distinguish.

    Args:
        records: the meta set, as it will be trained on.

    Returns:
        The numbers of right and of wrong answers, both >= 1.

    Raises:
        DataError: one of them is 0.
    """
    labels = [record.correct for record in records]
    right, wrong = sum(labels), len(labels) - sum(labels)
    if not right or not wrong:
        raise DataError(
            f"the meta set holds {right} right and {wrong} wrong answers; it needs both, since the upper"
            " level learns from what distinguishes them: add chains of thought of the missing kind"
        )
    return right, wrong


def _answers(records: Iterable[MetaRecord | CandidateRecord]) -> Iterator[tuple[str, int, bool, bool]]:
    """For every labelled answer: text, number of steps, whether a final answer is stated, and label."""
    for record in records:
        if isinstance(record, MetaRecord):
            text = "\n".join(record.steps)
            yield text, len(record.steps), final_answer(text) is not None, record.correct
            continue
        for candidate in record.candidates:
            if candidate.correct is not None:
                stated = candidate.final_answer is not None
                yield candidate.text, len(candidate.steps), stated, candidate.correct
