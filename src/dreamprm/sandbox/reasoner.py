"""A scripted stochastic reasoner: writes five-stage chains of thought with errors that repeat.

On each question some errors are *traps*: this reasoner misreads the same value, or slips in the same
computation, again and again. Traps make the wrong answers to a question agree with each other, so a majority
vote can be wrong, and a verifier that looks at the image can beat it.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.responses import split_steps
from dreamprm.sandbox.scene_questions import OPERATIONS, Question, apply, parse_question
from dreamprm.sandbox.scenes import Scene

LARGEST_NUMBER = 18


@dataclass(frozen=True)
class Errors:
    """How a reasoner errs: probabilities in [0, 1]; the ranges are those of a trap's pull on one sample."""

    evidence_trap: float = 0.65
    evidence_pull: tuple[float, float] = (0.25, 0.60)
    evidence_slip: float = 0.28
    compute_trap: float = 0.50
    compute_pull: tuple[float, float] = (0.20, 0.55)
    compute_slip: float = 0.15
    conclusion_slip: float = 0.0
    far: bool = False


TRAINING_ERRORS = Errors()
# Other mistakes at other rates: values misread by more than one, results off by two, a conclusion that
# contradicts the computation.
OTHER_ERRORS = Errors(
    evidence_trap=0.6, evidence_slip=0.24, compute_trap=0.4, compute_slip=0.1, conclusion_slip=0.08, far=True
)
NO_ERRORS = Errors(evidence_trap=0.0, evidence_slip=0.0, compute_trap=0.0, compute_slip=0.0)


@dataclass(frozen=True)
class Habit:
    """This reasoner's fixed habits on one question: its trap readings and results, and their pulls."""

    question: Question
    left: int
    right: int
    trap_reading: tuple[int, int]
    evidence_pull: float
    compute_offset: int
    wrong_operation: str | None
    compute_pull: float


class ScriptedReasoner(Generator):
    """A generator over known scenes; it errs at the given rates, whatever the temperature.

    Args:
        scenes: what each image path shows; a real generator sees pixels, this one looks up the scene.
        errors: how it errs.
        seed: another seed is another reasoner, with other traps on the same questions.
    """

    def __init__(
        self,
        scenes: Mapping[str, Scene],
        *,
        errors: Errors = TRAINING_ERRORS,
        seed: int = 0,
    ) -> None:
        self._scenes = scenes
        self._errors = errors
        self._seed = seed

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        """See `Generator.complete_all`.

        Raises:
            ValueError: an image is not one of the known scenes, or a prompt contains no sandbox question.
        """
        return [[_ended(text, sampling) for text in self._sample(request)] for request in requests]

    def _sample(self, request: Request) -> list[str]:
        image = request.images[0] if request.images else None
        if image is None or image not in self._scenes:
            raise ValueError(
                f"the scripted reasoner knows no scene for image {image!r}; give one of its scenes"
            )
        habit = self._habit(parse_question(request.prompt), self._scenes[image])
        rng = random.Random(request.sequence)
        written = split_steps(request.prefix)
        # Those before the first one asked for are drawn too, as each begins where the one before it ends.
        texts = [self._continue(habit, written, rng) for _ in range(request.first + request.n)][
            request.first :
        ]
        # prefix + text is the whole response: the text after a step starts on a new line.
        start = "\n" if written else ""
        return [start + text for text in texts]

    def _habit(self, question: Question, scene: Scene) -> Habit:
        key = f"{self._seed}|{scene.seed}|{scene.left}|{scene.right}|{question.text}"
        rng = random.Random(zlib.crc32(key.encode()))
        errors = self._errors
        has_evidence_trap = rng.random() < errors.evidence_trap
        has_compute_trap = rng.random() < errors.compute_trap
        wrong_operation = None
        if rng.random() < 0.5:
            wrong_operation = rng.choice([name for name in OPERATIONS if name != question.operation])
        return Habit(
            question,
            scene.left,
            scene.right,
            trap_reading=_misread(scene.left, scene.right, rng, errors.far),
            evidence_pull=rng.uniform(*errors.evidence_pull) if has_evidence_trap else 0.0,
            compute_offset=_offset(rng, errors.far),
            wrong_operation=wrong_operation,
            compute_pull=rng.uniform(*errors.compute_pull) if has_compute_trap else 0.0,
        )

    def _continue(self, habit: Habit, prefix: Sequence[str], rng: random.Random) -> str:
        question, errors = habit.question, self._errors
        steps: list[str] = []
        done = len(prefix)
        if done < 1:
            steps.append(restate(question, rng))
        if done < 2:
            reading = self._read(habit, rng)
            steps.append(evidence(*reading))
        else:
            reading = parse_evidence(prefix[1])
        if done < 3:
            steps.append(background(question, rng))
        if done < 4:
            result = self._compute(habit, reading, rng)
            steps.append(computation(question, *reading, result))
        else:
            result = parse_result(prefix[3])
        if done < 5:
            answer = result
            if errors.conclusion_slip and rng.random() < errors.conclusion_slip:
                answer = _slip(result, _offset(rng, errors.far))
            steps.append(conclusion(answer, rng))
        return "\n".join(steps)

    def _read(self, habit: Habit, rng: random.Random) -> tuple[int, int]:
        if rng.random() < habit.evidence_pull:
            return habit.trap_reading
        if rng.random() < self._errors.evidence_slip:
            return _misread(habit.left, habit.right, rng, self._errors.far)
        return habit.left, habit.right

    def _compute(self, habit: Habit, reading: tuple[int, int], rng: random.Random) -> int:
        question = habit.question
        result = apply(question.operation, *reading)
        if rng.random() < habit.compute_pull:
            result = self._trap_result(habit, reading, result)
        elif rng.random() < self._errors.compute_slip:
            result = _slip(result, _offset(rng, self._errors.far))
        return _slip(result, question.extra)

    @staticmethod
    def _trap_result(habit: Habit, reading: tuple[int, int], result: int) -> int:
        if habit.wrong_operation is not None:
            wrong = apply(habit.wrong_operation, *reading)
            if wrong != result:
                return wrong
        return _slip(result, habit.compute_offset)


def _ended(text: str, sampling: Sampling) -> Completion:
    """The text up to its first stop text, and at most `max_tokens` words of it."""
    found = [(place, stop) for stop in sampling.stop if (place := text.find(stop)) >= 0]
    place, by = min(found, default=(len(text), ""))
    text = text[:place]
    words = text.split(" ")
    finished = len(words) <= sampling.max_tokens
    if not finished:
        words, by = words[: sampling.max_tokens], ""
    by_known = by if sampling.stop else None
    return Completion(" ".join(words), len(words), finished, stopped_by=by_known)


def restate(question: Question, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"Step 1: find the {question.operation} of left and right"
    return f"Step 1: we need the {question.operation}"


def evidence(left: int, right: int) -> str:
    return f"Step 2: left is {left} and right is {right}"


_MEANING = {"sum": "add both", "difference": "larger minus smaller", "maximum": "keep the larger"}


def background(question: Question, rng: random.Random) -> str:
    verb = "means" if rng.random() < 0.5 else "says"
    return f"Step 3: {question.operation} {verb} {_MEANING[question.operation]}"


def computation(question: Question, left: int, right: int, result: int) -> str:
    """The text of step 4; with a second operation, the intermediate value is made to fit the result."""
    inner = result - question.extra
    if question.operation == "sum":
        body = f"{left} plus {right} gives {inner}"
    elif question.operation == "difference":
        body = f"{max(left, right)} minus {min(left, right)} gives {inner}"
    else:
        body = f"larger of {left} and {right} gives {inner}"
    if question.extra:
        sign = "plus" if question.extra > 0 else "minus"
        body += f" then {inner} {sign} {abs(question.extra)} gives {result}"
    return f"Step 4: {body}"


def conclusion(answer: int, rng: random.Random) -> str:
    opening = "so the answer is" if rng.random() < 0.5 else "we get"
    return f"Step 5: {opening} {answer}\nFinal answer: {answer}"


_EVIDENCE = re.compile(r"left is (\d+) and right is (\d+)")
_RESULT = re.compile(r"gives (\d+)\s*$")


def parse_evidence(step: str) -> tuple[int, int]:
    """The two values stated in an evidence step."""
    match = _EVIDENCE.search(step)
    if match is None:
        raise ValueError(f"not an evidence step of this world: {step!r}")
    return int(match[1]), int(match[2])


def parse_result(step: str) -> int:
    """The result stated in a computation step."""
    match = _RESULT.search(step)
    if match is None:
        raise ValueError(f"not a computation step of this world: {step!r}")
    return int(match[1])


def _misread(left: int, right: int, rng: random.Random, far: bool) -> tuple[int, int]:
    """Misread values: one of them (or, one time in four, both) is another value, usually a neighbour."""
    which = rng.randrange(4)
    return (
        _other(left, rng, far) if which != 1 else left,
        _other(right, rng, far) if which in (1, 3) else right,
    )


def _other(value: int, rng: random.Random, far: bool) -> int:
    distance = 2 if far else 1
    choices = [v for v in range(1, 7) if v != value]
    near = [v for v in choices if abs(v - value) == distance]
    return rng.choice(near) if near and rng.random() < 0.6 else rng.choice(choices)


def _offset(rng: random.Random, far: bool) -> int:
    return rng.choice((-2, 2)) if far else rng.choice((-1, 1))


def _slip(number: int, offset: int) -> int:
    """The number moved by the offset, or the other way if that would leave 0..LARGEST_NUMBER."""
    moved = number + offset
    return moved if 0 <= moved <= LARGEST_NUMBER else number - offset
