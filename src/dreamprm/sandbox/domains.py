"""Fifteen training domains of planted quality.

Every domain draws from all skills in the same style, asks the same kinds of questions and is answered by the
same reasoner: if a fault were tied to one kind of image, the image would give it away. The domains differ in
what went wrong when the data were made, and only the labels (or the image they belong to) show it:

- ``clean``: nothing went wrong.
- ``wrong_key``: the questions are hard, and the answer key holds the reasoner's favourite wrong answer (as do
  keys made by a model's majority vote), so the rollouts reward the very mistakes a verifier should catch.
- ``shuffled``: a share of the CoTs carry the labels of another CoT of the domain.
- ``swapped``: each question shows another question's image.
- ``easy``: the reasoner never errs on these questions; every label is 1, right but uninformative.

Planted quality = the share of a domain's labels that are right and informative. It is computed here as the
labels are made, and training never sees it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dreamprm.data.records import StepRecord
from dreamprm.responses import final_answer, split_steps
from dreamprm.sandbox.monte_carlo import monte_carlo_labels
from dreamprm.sandbox.reasoner import NO_ERRORS, TRAINING_ERRORS, ScriptedReasoner
from dreamprm.sandbox.scene_questions import OPERATIONS, Question
from dreamprm.sandbox.scenes import SKILLS, TRAINING_STYLE, VALUES, Scene, Style, held_out_pair

ROLLOUTS = 8
# A question is hard if the reasoner gives the same wrong answer in more than half of its samples. Labels from
# wrong keys then have the same mean as clean ones: a shifted mean alone would give the domain away.
HARD = 0.55


@dataclass(frozen=True)
class DomainSpec:
    """One domain: what went wrong when it was made (`fault`), and in which share of it."""

    name: str
    fault: str
    share: float = 1.0


# A third are clean. The names reveal nothing; the order is arbitrary.
DOMAINS: tuple[DomainSpec, ...] = (
    DomainSpec("set-a", "shuffled", 0.6),
    DomainSpec("set-b", "clean"),
    DomainSpec("set-c", "wrong_key"),
    DomainSpec("set-d", "easy"),
    DomainSpec("set-e", "clean"),
    DomainSpec("set-f", "swapped"),
    DomainSpec("set-g", "wrong_key"),
    DomainSpec("set-h", "clean"),
    DomainSpec("set-i", "shuffled", 1.0),
    DomainSpec("set-j", "wrong_key"),
    DomainSpec("set-k", "clean"),
    DomainSpec("set-l", "shuffled", 0.6),
    DomainSpec("set-m", "shuffled", 1.0),
    DomainSpec("set-n", "clean"),
    DomainSpec("set-o", "wrong_key"),
)


@dataclass(frozen=True)
class Problem:
    """A question about a scene, with the image path under which the scene is stored."""

    scene: Scene
    question: Question
    image: str

    @property
    def answer(self) -> int:
        return self.question.answer(self.scene.left, self.scene.right)


def draw_problem(
    rng: random.Random,
    image: str,
    *,
    skills: tuple[str, str],
    style: Style = TRAINING_STYLE,
    held_out: bool = False,
    extra: int = 0,
) -> Problem:
    """A random problem with (left, right) skills, whose value pair is a held-out one or not, as requested."""
    while True:
        left, right = rng.choice(VALUES), rng.choice(VALUES)
        if held_out_pair(left, right) == held_out:
            break
    scene = Scene(*skills, left, right, seed=rng.getrandbits(48), style=style)
    question = Question.about(scene, rng.choice(OPERATIONS))
    if extra:
        result = question.answer(left, right)
        sign = -1 if result > extra and rng.random() < 0.5 else 1
        question = Question.about(scene, question.operation, sign * extra)
    return Problem(scene, question, image)


def is_right(text: str, answer: int) -> bool:
    """Whether a response's final answer is the given number."""
    return final_answer(text) == str(answer)


@dataclass
class DomainData:
    """A generated domain: its problems (with their scenes, for drawing), the answers in its key, its records
    and planted quality."""

    problems: list[Problem]
    keys: list[int]
    records: list[StepRecord]
    quality: float


def generate_domain(spec: DomainSpec, *, questions: int, cots: int, seed: int) -> DomainData:
    """Draw the problems, let the reasoner answer, label every prefix by rollouts and plant the fault."""
    rng = random.Random(f"{seed}/{spec.name}")
    errors = NO_ERRORS if spec.fault == "easy" else TRAINING_ERRORS
    scenes: dict[str, Scene] = {}
    reasoner = ScriptedReasoner(scenes, errors=errors, seed=seed)
    problems: list[Problem] = []
    keys: list[int] = []
    records: list[StepRecord] = []
    right: list[list[bool]] = []
    for i in range(questions):
        problem, key = _draw_question(spec, reasoner, scenes, f"images/{spec.name}/{i:05d}.png", rng)
        problems.append(problem)
        keys.append(key)
        for steps, labels in _labelled_cots(reasoner, problem, key, cots, rng):
            records.append(
                StepRecord(
                    question=problem.question.text,
                    images=(problem.image,),
                    domain=spec.name,
                    steps=steps,
                    labels=labels,
                    rollouts=(ROLLOUTS,) * (len(steps) - 1) + (1,),
                    id=f"{spec.name}-{i:05d}-{len(records) % cots}",
                )
            )
            right.append([key == problem.answer and spec.fault != "easy"] * len(steps))
    if spec.fault == "shuffled":
        right = _shuffle_labels(records, spec.share, rng)
    if spec.fault == "swapped":
        records = _swap_images(records, rng)
        right = [[False] * len(flags) for flags in right]
    flat = [flag for flags in right for flag in flags]
    return DomainData(problems, keys, records, sum(flat) / len(flat))


def _labelled_cots(
    reasoner: ScriptedReasoner,
    problem: Problem,
    key: int,
    cots: int,
    rng: random.Random,
) -> Iterator[tuple[tuple[str, ...], tuple[float | None, ...]]]:
    completions = reasoner.complete(problem.question.text, problem.image, n=cots, seed=rng.getrandbits(32))
    for completion in completions:
        steps = split_steps(completion.text)
        labels = monte_carlo_labels(
            reasoner,
            problem.question.text,
            problem.image,
            steps=steps,
            is_correct=lambda text: is_right(text, key),
            rollouts=ROLLOUTS,
            seed=rng.getrandbits(32),
        )
        yield steps, tuple(labels)


def _draw_question(
    spec: DomainSpec,
    reasoner: ScriptedReasoner,
    scenes: dict[str, Scene],
    image: str,
    rng: random.Random,
) -> tuple[Problem, int]:
    """A problem of the domain, which is added to `scenes`, and its answer in the domain's key."""
    while True:
        skill = rng.choice(SKILLS)
        problem = draw_problem(rng, image, skills=(skill, skill))
        scenes[image] = problem.scene
        if spec.fault != "wrong_key":
            return problem, problem.answer
        answer, share = favourite_wrong_answer(reasoner, problem, seed=rng.getrandbits(32))
        if share >= HARD:
            return problem, answer if rng.random() < spec.share else problem.answer


def favourite_wrong_answer(reasoner: ScriptedReasoner, problem: Problem, *, seed: int) -> tuple[int, float]:
    """The reasoner's most frequent wrong answer in 16 samples, and its share (0 if it never errs)."""
    completions = reasoner.complete(problem.question.text, problem.image, n=16, seed=seed)
    answers = Counter(int(final_answer(completion.text) or -1) for completion in completions)
    del answers[problem.answer]
    if not answers:
        return problem.answer + 1, 0.0
    answer, count = answers.most_common(1)[0]
    return answer, count / 16


def _shuffle_labels(records: list[StepRecord], share: float, rng: random.Random) -> list[list[bool]]:
    """Rotate the labels of a random share of the CoTs; no moved label counts as right."""
    chosen = rng.sample(range(len(records)), round(share * len(records)))
    donors = chosen[1:] + chosen[:1]
    moved = {i: records[j].labels for i, j in zip(chosen, donors, strict=True)}
    right = []
    for i, record in enumerate(records):
        labels = moved.get(i, record.labels)
        # A moved label may agree with the true one by chance, but it still says nothing about its CoT.
        right.append([i not in moved] * len(labels))
        records[i] = replace(record, labels=labels)
    return right


def _swap_images(records: list[StepRecord], rng: random.Random) -> list[StepRecord]:
    """Give every question the image of another one, the same for all of its CoTs."""
    images = sorted({record.images for record in records})
    shuffled = images[:]
    rng.shuffle(shuffled)
    # Rotating a random order has no fixed point.
    swap = dict(zip(shuffled, shuffled[1:] + shuffled[:1], strict=True))
    return [replace(record, images=swap[record.images]) for record in records]
