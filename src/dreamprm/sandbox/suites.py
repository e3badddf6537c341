"""The meta set, the development set, and the held-out suites: questions with N candidate CoTs each.

``heldout`` asks questions of the training kind. The five shifted suites change one thing each:

- ``combinations``: value pairs that occur in no training set and no caption;
- ``styles``: different colours, different paper, noise;
- ``reasoner``: candidates from another reasoner, with other errors;
- ``two_ops``: a second operation in step 4;
- ``mixed``: the two sides show different skills.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from dreamprm.data.records import Candidate, CandidateRecord, MetaRecord
from dreamprm.responses import final_answer, split_steps
from dreamprm.sandbox.domains import Problem, draw_problem, is_right
from dreamprm.sandbox.reasoner import OTHER_ERRORS, TRAINING_ERRORS, Errors, ScriptedReasoner
from dreamprm.sandbox.scenes import SHIFTED_STYLE, SKILLS, TRAINING_STYLE, Style

SHIFTED_SUITES = ("combinations", "styles", "reasoner", "two_ops", "mixed")
# Part of the suites' seed, raised whenever a choice was made after their figures had been seen: reported
# figures are always on questions that nobody had looked at (experiments/results/looks.md).
DRAWING = 3


@dataclass(frozen=True)
class SuiteSpec:
    """One suite and what is shifted in it."""

    name: str
    style: Style = TRAINING_STYLE
    errors: Errors = TRAINING_ERRORS
    held_out_pairs: bool = False
    two_operations: bool = False
    mixed_skills: bool = False
    drawing: int = 1


SUITES: tuple[SuiteSpec, ...] = (
    SuiteSpec("heldout", drawing=DRAWING),
    SuiteSpec("combinations", drawing=DRAWING, held_out_pairs=True),
    SuiteSpec("styles", drawing=DRAWING, style=SHIFTED_STYLE),
    SuiteSpec("reasoner", drawing=DRAWING, errors=OTHER_ERRORS),
    SuiteSpec("two_ops", drawing=DRAWING, two_operations=True),
    SuiteSpec("mixed", drawing=DRAWING, mixed_skills=True),
)
META = SuiteSpec("meta")
DEVELOPMENT = SuiteSpec("development")


def generate_suite(
    spec: SuiteSpec,
    *,
    questions: int,
    candidates: int,
    seed: int,
) -> tuple[list[Problem], list[CandidateRecord]]:
    """Draw a suite's problems and let its reasoner answer each of them `candidates` times."""
    rng = random.Random(f"{seed}/{spec.name}" if spec.drawing == 1 else f"{seed}/{spec.name}/{spec.drawing}")
    problems = []
    for i in range(questions):
        left = rng.choice(SKILLS)
        right = rng.choice([skill for skill in SKILLS if skill != left]) if spec.mixed_skills else left
        problems.append(
            draw_problem(
                rng,
                f"images/{spec.name}/{i:05d}.png",
                skills=(left, right),
                style=spec.style,
                held_out=spec.held_out_pairs,
                extra=rng.randint(1, 4) if spec.two_operations else 0,
            )
        )
    # The other reasoner also gets another seed: with the same one it would share the first one's traps.
    reasoner_seed = seed if spec.errors == TRAINING_ERRORS else seed + 1
    reasoner = ScriptedReasoner({p.image: p.scene for p in problems}, errors=spec.errors, seed=reasoner_seed)
    records = []
    for i, problem in enumerate(problems):
        completions = reasoner.complete(
            problem.question.text, problem.image, n=candidates, seed=rng.getrandbits(32)
        )
        records.append(
            CandidateRecord(
                question=problem.question.text,
                images=(problem.image,),
                benchmark=spec.name,
                answer=str(problem.answer),
                id=f"{spec.name}-{i:05d}",
                candidates=tuple(
                    Candidate(
                        text=c.text,
                        steps=split_steps(c.text),
                        final_answer=final_answer(c.text),
                        correct=is_right(c.text, problem.answer),
                        generator="scripted",
                    )
                    for c in completions
                ),
            )
        )
    return problems, records


def as_meta_records(records: list[CandidateRecord]) -> list[MetaRecord]:
    """Every candidate as a meta record: one complete CoT with its right/wrong label."""
    return [
        MetaRecord(
            question=record.question,
            images=record.images,
            steps=candidate.steps,
            correct=bool(candidate.correct),
            id=f"{record.id}-{i}",
        )
        for record in records
        for i, candidate in enumerate(record.candidates)
    ]
