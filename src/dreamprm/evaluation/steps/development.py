"""Which records the threshold is chosen on: never any that the reported figures count."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.errors import DataError, UserError
from dreamprm.evaluation.steps.scored_steps import ScoredSteps


@dataclass(frozen=True)
class Parts:
    """Development and test records.

    Attributes:
        development: the records that the threshold is chosen on; None if it is given.
        test: by subset, the records that the figures count.
        apart: the subset that is the development set itself; its figures do not enter the means.
    """

    development: ScoredSteps | None
    test: Mapping[str, ScoredSteps]
    apart: str | None = None


def split_questions(subsets: Mapping[str, ScoredSteps], *, fraction: float, seed: int) -> Parts:
    """A share of each subset's questions for development, drawn by a hash of seed and question.

    All records of a question fall on the same side, even if it occurs in several subsets, and whatever the
    order of the records. The share is therefore met only on average.

    Raises:
        UserError: nothing is left on one side of a subset.
    """
    chosen = {name: _drawn(steps.questions, fraction, seed) for name, steps in subsets.items()}
    for name, taken in chosen.items():
        if taken.all() or not taken.any():
            side = "test" if taken.all() else "development"
            raise UserError(
                f"{name}: no question of its {len(taken)} records falls on the {side} side at"
                f" threshold.fraction={fraction} and seed={seed}; change one of them, or threshold.chosen_on"
            )
    return Parts(
        joined([steps.select(chosen[name]) for name, steps in subsets.items()]),
        {name: steps.select(~chosen[name]) for name, steps in subsets.items()},
    )


def set_subset_apart(subsets: Mapping[str, ScoredSteps], name: str) -> Parts:
    """Use one of the subsets as the development set, like GSM8K in ProcessBench's paper.

    Raises:
        DataError: another subset holds one of its questions.
    """
    for other, steps in subsets.items():
        if other != name:
            refuse_shared(subsets[name], steps, name, other)
    return Parts(subsets[name], subsets, apart=name)


def other_records(subsets: Mapping[str, ScoredSteps], development: ScoredSteps, file: str) -> Parts:
    """Use a separate file as the development set.

    Raises:
        DataError: a subset holds one of its questions.
    """
    for name, steps in subsets.items():
        refuse_shared(development, steps, file, name)
    return Parts(development, subsets)


def refuse_shared(development: ScoredSteps, test: ScoredSteps, file: str, subset: str) -> None:
    """Reject test questions that the threshold would be chosen on.

    Raises:
        DataError: naming the first such record and their number.
    """
    shared = np.isin(test.questions, development.questions)
    if shared.any():
        first = test.ids[int(np.argmax(shared))]
        raise DataError(
            f"{int(shared.sum())} records of {subset} have questions that are also in the development set "
            f"{file} (the first: {first}), so the threshold would be chosen on test questions; remove them "
            "from one of the two, or use threshold.chosen_on=split"
        )


def joined(parts: Sequence[ScoredSteps]) -> ScoredSteps:
    """The records of several subsets with the same scorers, concatenated."""
    offsets = [parts[0].offsets]
    for part in parts[1:]:
        offsets.append(part.offsets[1:] + offsets[-1][-1])
    columns = ("questions", "labels", "rollouts", "right", "first_error")
    return dataclasses.replace(
        parts[0],
        ids=tuple(name for part in parts for name in part.ids),
        domains=tuple(name for part in parts for name in part.domains),
        offsets=np.concatenate(offsets),
        log_odds={
            scorer: np.concatenate([part.log_odds[scorer] for part in parts]) for scorer in parts[0].log_odds
        },
        soft=any(part.soft for part in parts),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
    )


def _drawn(questions: NDArray[np.uint64], fraction: float, seed: int) -> NDArray[np.bool_]:
    return np.array([_share(seed, int(key)) < fraction for key in questions], dtype=bool)


def _share(seed: int, key: int) -> float:
    """A number in [0, 1) that seed and question determine."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56
