"""Results as records in the package's own format, with additional fields about each chain."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dreamprm.answers.base import Verdict
from dreamprm.data.image_paths import vouch
from dreamprm.data.records import (
    Candidate,
    CandidateRecord,
    MetaRecord,
    QuestionRecord,
    Record,
    StepRecord,
    to_json,
)
from dreamprm.files.atomic import write_lines_atomically
from dreamprm.generators.prompting import question_text
from dreamprm.labelling.jobs import Chain, Instructions, LabelledChain
from dreamprm.responses import StepCounts

EMPTY = "empty CoTs"
NO_LABEL = "CoTs without any label"
UNDECIDED = "undecided CoTs"


@dataclass
class Written:
    """The lines of one output file by question, with counts of what is in them and what was left out."""

    folder: Path
    lines: dict[str, list[str]] = field(default_factory=dict)
    malformed: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    cots: int = 0
    right: int = 0
    steps: StepCounts = field(default_factory=StepCounts)

    def add(self, question: QuestionRecord, record: Record, extra: dict[str, Any]) -> None:
        """Add a record; image paths are relative to the file's folder, so that both can be moved together."""
        row = to_json(record)
        if "image" in row:
            row["image"] = os.path.relpath(row["image"], self.folder)
        else:
            row["images"] = [os.path.relpath(image, self.folder) for image in row["images"]]
        line = json.dumps(row | extra, ensure_ascii=False, allow_nan=False) + "\n"
        self.lines.setdefault(question.id, []).append(line)

    def count(self, chain: Chain) -> None:
        """Count a chain, whether or not it is written."""
        self.cots += 1
        self.right += chain.correct is True
        self.malformed.update(chain.malformed)
        if chain.text.strip():
            self.steps[len(chain.steps)] += 1
        self.left_out[EMPTY] += not chain.text.strip()

    def save(self, path: Path, order: Iterable[QuestionRecord]) -> int:
        """Write the file atomically, with the questions in this order; returns the number of records."""
        records = [line for question in order for line in self.lines.get(question.id, ())]
        write_lines_atomically(path, records)
        vouch(path)
        return len(records)


def write_candidates(
    written: Written, question: QuestionRecord, sampled: Sequence[tuple[Chain, Verdict]], *, generator: str
) -> None:
    """Add a question with its chains as one candidate record."""
    kept = [chain for chain, _ in sampled if chain.text.strip()]
    _count_all(written, sampled)
    if not kept:
        return
    record = CandidateRecord(
        question=_as_shown(question),
        images=question.images,
        benchmark=question.domain,
        answer=question.answer,
        id=question.id,
        candidates=tuple(
            Candidate(chain.text, chain.steps, chain.final_answer, chain.correct, generator) for chain in kept
        ),
    )
    split = kept[0].split if len({chain.split for chain in kept}) == 1 else [chain.split for chain in kept]
    extra: dict[str, Any] = {"split": split, "malformed": [list(chain.malformed) for chain in kept]}
    if any(chain.reasoning for chain in kept):
        extra["reasoning"] = [chain.reasoning for chain in kept]
    written.add(question, record, extra)


def write_meta(written: Written, question: QuestionRecord, sampled: Sequence[tuple[Chain, Verdict]]) -> None:
    """Add every chain as a meta record; chains that are neither right nor wrong are only counted."""
    _count_all(written, sampled)
    for number, (chain, _) in enumerate(sampled):
        if not chain.text.strip():
            continue
        if chain.correct is None:
            written.left_out[UNDECIDED] += 1
            continue
        record = MetaRecord(
            question=_as_shown(question),
            images=question.images,
            steps=chain.steps,
            correct=chain.correct,
            id=f"{question.id}-{number}",
        )
        written.add(question, record, _known(chain))


@dataclass
class LabelCounts:
    """How many incomplete prefixes have a label, and the total cost of labelling."""

    steps: int = 0
    rollouts: int = 0
    tokens: int = 0


def write_steps(
    written: Written,
    counts: LabelCounts,
    question: QuestionRecord,
    labelled: Iterable[LabelledChain],
    instructions: Instructions,
) -> None:
    """Add every chain as a step record."""
    for one in labelled:
        chain = one.chain
        correct = instructions.correct(one.verdict)
        written.count(replace(chain, correct=correct))
        if not chain.steps:
            continue
        counts.steps += sum(label.p is not None for label in one.labels[:-1])
        counts.rollouts += one.rollouts
        counts.tokens += one.tokens
        if all(label.p is None for label in one.labels):
            written.left_out[NO_LABEL] += 1
            continue
        record = StepRecord(
            question=_as_shown(question),
            images=question.images,
            domain=question.domain,
            steps=chain.steps,
            labels=tuple(label.p for label in one.labels),
            rollouts=tuple(label.rollouts or None for label in one.labels),
            id=f"{question.id}-{one.number}",
        )
        written.add(question, record, {**_known(chain), "correct": correct})


def _as_shown(question: QuestionRecord) -> str:
    """The question as the generator saw it, with its options: a PRM judges responses to this text."""
    return question_text(question.question, question.options)


def _known(chain: Chain) -> dict[str, Any]:
    known = {"split": chain.split, "malformed": list(chain.malformed), "final_answer": chain.final_answer}
    return known | ({"reasoning": chain.reasoning} if chain.reasoning else {})


def _count_all(written: Written, sampled: Sequence[tuple[Chain, Verdict]]) -> None:
    for chain, _ in sampled:
        written.count(chain)
