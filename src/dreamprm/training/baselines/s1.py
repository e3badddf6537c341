"""s1: a training set filtered for quality and difficulty, then sampled for diversity."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.data.records import StepRecord
from dreamprm.responses import final_answer
from dreamprm.training.baselines.base import KEPT, Selected, Selection, SelectionData

TOO_EASY = "too easy: its question is solved too often"
NOT_SAMPLED = "not sampled"

_HEADING = re.compile(r"\W*step\s+(\d+)\b", re.IGNORECASE)
_NAMES_IMAGE = re.compile(r"\b(?:image|picture|figure|diagram|photo)s?\b", re.IGNORECASE)


@dataclass(frozen=True)
class S1(Selection):
    """Keeps well-formed CoTs, of questions that are not always solved, sampled across domains.

    Use it as the paper's baseline s1-PRM: a vanilla PRM on data chosen by quality, difficulty and diversity,
    without using any label of the meta set. It needs no model.

    1. Quality: drop CoTs with a repeated step, with headings `Step k` out of order, that mention an image
       when there is none, without a final answer (`final_answer`), or whose number of steps is not `steps`.
    2. Difficulty: for each question, s = share of its remaining CoTs that end right, by their last labels
       (a label of at least 1/2 counts as right). Drop its CoTs if s > max_solved.
    3. Diversity: until `keep` of all CoTs are drawn (or none is left), pick a domain uniformly among those
       with CoTs left, then one of its CoTs with probability proportional to 2^-rank, where rank 0 is the
       longest one left (in characters): longer reasoning indicates harder questions.

    Args:
        final_answer: whether a CoT must state a final answer.
        steps: the number of steps a CoT must have; None: any.
        max_solved: s above which a question is too easy, in [0, 1]; 1 disables the filter.
        keep: share of all CoTs that is drawn, in (0, 1].

    Raises:
        ValueError: a value that is not allowed.

    Source: Muennighoff et al., arXiv 2501.19393, section 2; ranks and probabilities as in its public code.
    Departures: the paper has two models try each question and drops it if either solves it; we only have the
    generator of the CoTs, and a PRM trained without right CoTs could not learn to tell them apart, so only
    questions that it (nearly) always solves are dropped. Its domains are subjects assigned by a classifier,
    ours are the data's own; it draws the last 300 of 1,000 by the benchmarks' subjects, we do not. It keeps
    1,000 of 59,000 to fine-tune a generator; a PRM trained on that few CoTs would not be a serious
    competitor, so `keep` is half.
    """

    final_answer: bool = setting(True, "leave out CoTs that state no final answer")
    steps: int | None = setting(None, "the number of steps a CoT must have; null: any", minimum=1)
    max_solved: float = setting(
        0.9,
        "leave out a question if a larger share of its CoTs ends right; 1 keeps all",
        minimum=0,
        maximum=1,
    )
    keep: float = setting(
        0.5,
        "share of all CoTs that is drawn",
        above=0,
        maximum=1,
        advice="0 would leave nothing to train on",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def select(self, data: SelectionData) -> Selected:
        """The chosen CoTs; the report says what each filter left out."""
        fates = [self.fault(record) or KEPT for record in data.records]
        solved = solved_shares(
            record for record, fate in zip(data.records, fates, strict=True) if fate == KEPT
        )
        domains: dict[str, list[tuple[int, int]]] = {}  # (length, row) by domain
        for row, record in enumerate(data.records):
            if fates[row] != KEPT:
                continue
            if solved.get(_question(record), 0.0) > self.max_solved:
                fates[row] = TOO_EASY
            else:
                domains.setdefault(record.domain, []).append((sum(map(len, record.steps)), row))
        # Longest first; equal lengths in file order.
        ranked = {
            name: [row for _, row in sorted(rows, key=lambda item: (-item[0], item[1]))]
            for name, rows in domains.items()
        }
        drawn = set(diverse_sample(ranked, math.ceil(self.keep * len(fates)), seed=data.seed))
        return Selected(
            [NOT_SAMPLED if fate == KEPT and row not in drawn else fate for row, fate in enumerate(fates)]
        )

    def fault(self, record: StepRecord) -> str | None:
        """The first formal fault; None if there is none."""
        steps = record.steps
        if self.steps is not None and len(steps) != self.steps:
            return f"not of {self.steps} steps"
        if len({step.strip() for step in steps}) < len(steps):
            return "a step twice"
        numbers = [int(match[1]) if (match := _HEADING.match(step)) else None for step in steps]
        if any(number is not None for number in numbers) and numbers != list(range(1, len(steps) + 1)):
            return "headings out of order"
        if not record.images and _NAMES_IMAGE.search(" ".join((record.question, *steps))):
            return "names an image, has none"
        if self.final_answer and final_answer("\n\n".join(steps)) is None:
            return "no final answer"
        return None


def solved_shares(records: Iterable[StepRecord]) -> dict[tuple[str, tuple[str, ...]], float]:
    """The share of each question's CoTs that end right, ignoring CoTs whose last step is not labelled."""
    outcomes: dict[tuple[str, tuple[str, ...]], list[bool]] = {}
    for record in records:
        if record.labels[-1] is not None:
            outcomes.setdefault(_question(record), []).append(record.labels[-1] >= 0.5)
    return {question: sum(right) / len(right) for question, right in outcomes.items()}


def diverse_sample(ranked: Mapping[str, Sequence[int]], count: int, *, seed: int) -> list[int]:
    """Draw rows without replacement: a domain uniformly, then its row of rank r with probability ~ 2^-r.

    Args:
        ranked: rows by domain, rank 0 first.
        count: rows to draw; if there are fewer, all are drawn.

    Returns:
        the rows in the order drawn.
    """
    left = {name: list(rows) for name, rows in ranked.items() if rows}
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    while left and len(drawn) < count:
        name = list(left)[int(generator.integers(len(left)))]
        rows = left[name]
        # P(rank <= r) = (1 - 2^-(r+1)) / (1 - 2^-n), inverted; in a form that works for ranks of any size.
        rank = int(-math.log2(1.0 - generator.random() * (1.0 - 2.0 ** -len(rows))))
        drawn.append(rows.pop(min(rank, len(rows) - 1)))
        if not rows:
            del left[name]
    return drawn


def _question(record: StepRecord) -> tuple[str, tuple[str, ...]]:
    return record.question, record.images
