"""Chains of thought of the sandbox with the true value of every prefix and rollouts sampled from it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.responses import split_steps
from dreamprm.sandbox.domains import DOMAINS, DomainSpec, Problem, generate_domain, is_right
from dreamprm.sandbox.reasoner import NO_ERRORS, OTHER_ERRORS, TRAINING_ERRORS, ScriptedReasoner
from dreamprm.sandbox.true_values import true_value

SEEDS = (0, 1, 2)
COTS = 2
ROLLOUTS = 32
PREFIXES = 4


@dataclass(frozen=True)
class Chain:
    """A CoT with the true values of its prefixes and the rollouts sampled from each."""

    question: tuple[int, str, int]
    fault: str
    start: float  # the value of the question alone
    values: np.ndarray  # (prefixes,) true p_i
    correct: bool
    right: np.ndarray  # (prefixes, rollouts) bool
    tokens: np.ndarray  # (prefixes, rollouts)


def domain_chains(spec: DomainSpec, *, questions: int, seed: int, strangers: bool = False) -> Iterator[Chain]:
    """The domain's CoTs with rollouts of its own reasoner; with `strangers`, another reasoner wrote the
    CoTs."""
    data = generate_domain(spec, questions=questions, cots=COTS, seed=seed)
    scenes = {problem.image: problem.scene for problem in data.problems}
    errors = NO_ERRORS if spec.fault == "easy" else TRAINING_ERRORS
    reasoner = ScriptedReasoner(scenes, errors=errors, seed=seed)
    author = ScriptedReasoner(scenes, errors=OTHER_ERRORS, seed=seed + 1)
    rng = random.Random(f"{seed}/{spec.name}/rollouts")
    for i, (problem, key) in enumerate(zip(data.problems, data.keys, strict=True)):
        for record in data.records[COTS * i : COTS * (i + 1)]:
            steps = record.steps
            if strangers:
                (text,) = author.complete(problem.question.text, problem.image, seed=rng.getrandbits(32))
                steps = split_steps(text.text)
            yield _chain(
                reasoner, problem, key, steps=steps, question=(seed, spec.name, i), fault=spec.fault, rng=rng
            )


def _chain(
    reasoner: ScriptedReasoner,
    problem: Problem,
    key: int,
    *,
    steps: Sequence[str],
    question: tuple[int, str, int],
    fault: str,
    rng: random.Random,
) -> Chain:
    asked = problem.question.text, problem.image
    values, right, tokens = [], [], []
    for kept in range(PREFIXES + 1):
        values.append(true_value(reasoner, *asked, prefix=steps[:kept], answer=key))
        if kept:
            texts = reasoner.complete(
                *asked, prefix="\n".join(steps[:kept]), n=ROLLOUTS, seed=rng.getrandbits(32)
            )
            right.append([is_right(text.text, key) for text in texts])
            tokens.append([text.tokens for text in texts])
    return Chain(
        question,
        fault,
        values[0],
        np.array(values[1:]),
        is_right(steps[-1], key),
        np.array(right),
        np.array(tokens),
    )


def independent_chains(count: int, *, seed: int) -> Iterator[Chain]:
    """Not from the sandbox: values drawn uniformly and independently, so that neighbours carry no
    information."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        values = rng.random(PREFIXES)
        right = rng.random((PREFIXES, ROLLOUTS)) < values[:, None]
        yield Chain(
            (seed, "independent", i),
            "",
            0.5,
            values,
            bool(rng.random() < values[-1]),
            right,
            np.ones((PREFIXES, ROLLOUTS), int),
        )


def closed_form_check(prefixes: int, *, rollouts: int) -> tuple[float, float]:
    """(largest, mean square) distance between true values and that many rollouts, in standard errors.

    Only for prefixes whose value is not 0 or 1; the mean square should be 1 if the values are right.
    """
    distances: list[float] = []
    for number, spec in enumerate(DOMAINS):
        if spec.fault == "easy":
            continue
        data = generate_domain(spec, questions=4, cots=1, seed=0)
        scenes = {problem.image: problem.scene for problem in data.problems}
        reasoner = ScriptedReasoner(scenes, errors=TRAINING_ERRORS, seed=0)
        for problem, key, record in zip(data.problems, data.keys, data.records, strict=True):
            asked = problem.question.text, problem.image
            kept = 1 + len(distances) % 3  # from step 4 on the outcome is settled
            value = true_value(reasoner, *asked, prefix=record.steps[:kept], answer=key)
            if len(distances) == prefixes or not 0 < value < 1:
                continue
            texts = reasoner.complete(
                *asked, prefix="\n".join(record.steps[:kept]), n=rollouts, seed=1000 + number
            )
            share = sum(is_right(text.text, key) for text in texts) / rollouts
            distances.append((share - value) / (value * (1 - value) / rollouts) ** 0.5)
    return max(map(abs, distances)), sum(d * d for d in distances) / len(distances)
