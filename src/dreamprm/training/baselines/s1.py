"""s1: a training set filtered for quality, then for difficulty, then sampled for diversity."""

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
    """Kept are CoTs without a fault of form, of questions that are not always solved, drawn domain by domain.

    Use it as the paper's baseline s1-PRM: a vanilla PRM on data chosen by quality, difficulty and diversity,
    without a label of the meta set. It needs no model.

    1. Quality: out go CoTs with a step that comes twice, headings `Step k` out of order, words of an image
       where there is none, no final answer (`final_answer`), another number of steps than `steps`.
    2. Difficulty: of a question, s = share of its CoTs (of those left) that end right, by their last labels
       (a label of at least 1/2 counts as right). Out go its CoTs where s > max_solved.
    3. Diversity: until `keep` of all CoTs are drawn (or none is left): a domain by equal chances among those
       that have some left, then one of its CoTs with chance 2^-rank, rank 0 the longest left (in characters):
       longer reasoning stands for harder questions.

    Args:
        final_answer: whether a CoT must state a final answer.
        steps: the number of steps a CoT must have; None: any.
        max_solved: s above which a question is too easy, in [0, 1]; 1 switches the filter off.
        keep: share of all CoTs that is drawn, in (0, 1].

    Raises:
        ValueError: a value outside of these.

    Source: Muennighoff et al., arXiv 2501.19393, section 2; ranks and chances as in its public code.
    Departures: two models try each of its questions and one that either solves is out; we have the generator
    of the CoTs alone, and a PRM trained without right CoTs could tell nothing apart, so only questions that
    it (nearly) always solves are out. Its domains are a classifier's subjects, ours the data's own; it draws
    the last 300 of 1,000 by the benchmarks' subjects, we none. It keeps 1,000 of 59,000 to fine-tune a
    generator; a PRM of that few CoTs would be no opponent, so `keep` is half.
    """

    final_answer: bool = setting(True, "leave out CoTs that state no final answer")
    steps: int | None = setting(None, "the number of steps a CoT must have; null: any", minimum=1)
    max_solved: float = setting(
        0.9,
        "leave out a question of whose CoTs a larger share ends right; 1 keeps all",
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
        """The CoTs chosen; the report tells what each filter left out."""
        fates = [self.fault(record) or KEPT for record in data.records]
        solved = solved_shares(
            record for record, fate in zip(data.records, fates, strict=True) if fate == KEPT
        )
        domains: dict[str, list[tuple[int, int]]] = {}  # of each domain (length, row)
        for row, record in enumerate(data.records):
            if fates[row] != KEPT:
                continue
            if solved.get(_question(record), 0.0) > self.max_solved:
                fates[row] = TOO_EASY
            else:
                domains.setdefault(record.domain, []).append((sum(map(len, record.steps)), row))
        # Longest first; equal lengths in the file's order.
        ranked = {
            name: [row for _, row in sorted(rows, key=lambda item: (-item[0], item[1]))]
            for name, rows in domains.items()
        }
        drawn = set(diverse_sample(ranked, math.ceil(self.keep * len(fates)), seed=data.seed))
        return Selected(
            [NOT_SAMPLED if fate == KEPT and row not in drawn else fate for row, fate in enumerate(fates)]
        )

    def fault(self, record: StepRecord) -> str | None:
        """The first fault of form; None where there is none."""
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
    """The share of each question's CoTs that end right; without those whose last step is not labelled."""
    outcomes: dict[tuple[str, tuple[str, ...]], list[bool]] = {}
    for record in records:
        if record.labels[-1] is not None:
            outcomes.setdefault(_question(record), []).append(record.labels[-1] >= 0.5)
    return {question: sum(right) / len(right) for question, right in outcomes.items()}


def diverse_sample(ranked: Mapping[str, Sequence[int]], count: int, *, seed: int) -> list[int]:
    """Draw rows without replacement: a domain by equal chances, then its row of rank r with chance ~ 2^-r.

    Args:
        ranked: rows by domain, rank 0 first.
        count: rows to draw; all of them where there are fewer.

    Returns:
        the rows in the order drawn.
    """
    left = {name: list(rows) for name, rows in ranked.items() if rows}
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    while left and len(drawn) < count:
        name = list(left)[int(generator.integers(len(left)))]
        rows = left[name]
        # P(rank <= r) = (1 - 2^-(r+1)) / (1 - 2^-n), inverted; computed so that ranks of any size do.
        rank = int(-math.log2(1.0 - generator.random() * (1.0 - 2.0 ** -len(rows))))
        drawn.append(rows.pop(min(rank, len(rows) - 1)))
        if not rows:
            del left[name]
    return drawn


def _question(record: StepRecord) -> tuple[str, tuple[str, ...]]:
    return record.question, record.images
