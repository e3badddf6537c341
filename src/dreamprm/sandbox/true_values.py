"""The true p_i of the scripted reasoner's chains: exact probabilities of an answer given a prefix.

The reasoner draws only a few things: a reading of the scene, a result, sometimes a different conclusion.
Summing over all of them gives what Monte-Carlo labels estimate, so the error of these labels can be measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from dreamprm.sandbox.reasoner import Errors, Habit, ScriptedReasoner, _slip, parse_evidence, parse_result
from dreamprm.sandbox.scene_questions import apply, parse_question
from dreamprm.sandbox.scenes import VALUES

Reading = tuple[int, int]
A = TypeVar("A")
B = TypeVar("B")
Chances = Mapping[A, float]


def true_value(
    reasoner: ScriptedReasoner,
    prompt: str,
    image: str,
    *,
    prefix: Sequence[str],
    answer: int,
) -> float:
    """The probability that the reasoner concludes with `answer` when it continues the prefix.

        V(step_1..step_i) = sum over readings, results and conclusions still to be drawn of
                            P(reading) P(result | reading) P(conclusion | result) [conclusion = answer]

    This is the p_i that `monte_carlo_labels` estimates. It implements the reasoner's rules a second time; a
    test compares the two.

    Args:
        prompt, image: as given to the reasoner.
        prefix: the steps already written, 0 to 4 of them.
        answer: what counts as right; in a domain with a wrong key, the answer in that key.

    Returns:
        V in [0, 1], exact up to float64 rounding.

    Raises:
        ValueError: more than 4 steps (a complete chain is right or wrong), or an unknown image or question.
    """
    if len(prefix) > 4:
        raise ValueError(
            f"prefix must have at most 4 steps, got {len(prefix)}; a complete chain has no "
            "value to estimate, as its final answer is right or wrong"
        )
    # These are private to the reasoner; only its true values may read them.
    scene, errors = reasoner._scenes.get(image), reasoner._errors
    if scene is None:
        raise ValueError(f"the scripted reasoner knows no scene for image {image!r}; give one of its scenes")
    habit = reasoner._habit(parse_question(prompt), scene)
    readings: Chances[Reading]
    results: Chances[int]
    if len(prefix) < 4:
        readings = {parse_evidence(prefix[1]): 1.0} if len(prefix) >= 2 else _readings(habit, errors)
        results = _follow(readings, lambda reading: _results(habit, errors, reading))
    else:
        results = {parse_result(prefix[3]): 1.0}
    return _follow(results, lambda result: _conclusions(errors, result)).get(answer, 0.0)


def _follow(first: Chances[A], then: Callable[[A], Chances[B]]) -> dict[B, float]:
    """The chances of what `then` draws, averaged over what is drawn first."""
    total: dict[B, float] = defaultdict(float)
    for drawn, chance in first.items():
        for next_drawn, next_chance in then(drawn).items():
            total[next_drawn] += chance * next_chance
    return dict(total)


def _mix(chance: float, one: Chances[A], other: Chances[A]) -> dict[A, float]:
    """The mixture that draws from `one` with this chance, else from `other`."""
    return {key: chance * one.get(key, 0.0) + (1 - chance) * other.get(key, 0.0) for key in {*one, *other}}


def _readings(habit: Habit, errors: Errors) -> dict[Reading, float]:
    """What step 2 may state: the trap, else a misreading, else the scene's values."""
    seen = {(habit.left, habit.right): 1.0}
    free = _mix(errors.evidence_slip, _misreadings(habit.left, habit.right, errors.far), seen)
    return _mix(habit.evidence_pull, {habit.trap_reading: 1.0}, free)


def _misreadings(left: int, right: int, far: bool) -> dict[Reading, float]:
    """Of four equally likely cases, two misread only the left value, one only the right, and one both."""
    lefts, rights = _others(left, far), _others(right, far)
    chances: dict[Reading, float] = defaultdict(float)
    for other, chance in lefts.items():
        chances[other, right] += chance / 2
    for other, chance in rights.items():
        chances[left, other] += chance / 4
    for one, first in lefts.items():
        for two, second in rights.items():
            chances[one, two] += first * second / 4
    return dict(chances)


def _others(value: int, far: bool) -> dict[int, float]:
    """Another value: one at the usual distance with 60 % chance (if there is one), else any."""
    choices = [other for other in VALUES if other != value]
    near = [other for other in choices if abs(other - value) == (2 if far else 1)]
    anything = {other: 1 / len(choices) for other in choices}
    return _mix(0.6, {other: 1 / len(near) for other in near}, anything) if near else anything


def _slips(number: int, far: bool) -> dict[int, float]:
    """The number shifted by an offset, up or down with equal chance."""
    chances: dict[int, float] = defaultdict(float)
    for offset in (-2, 2) if far else (-1, 1):
        chances[_slip(number, offset)] += 0.5
    return dict(chances)


def _results(habit: Habit, errors: Errors, reading: Reading) -> dict[int, float]:
    """What step 4 may state about a reading: the trap, else a slip, else the operation's result."""
    question = habit.question
    result = apply(question.operation, *reading)
    free = _mix(errors.compute_slip, _slips(result, errors.far), {result: 1.0})
    chances = _mix(habit.compute_pull, {_trap(habit, reading, result): 1.0}, free)
    return _follow(chances, lambda inner: {_slip(inner, question.extra): 1.0})


def _trap(habit: Habit, reading: Reading, result: int) -> int:
    """The computation's trap: another operation if that gives a different result, else a fixed offset."""
    if habit.wrong_operation is not None:
        wrong = apply(habit.wrong_operation, *reading)
        if wrong != result:
            return wrong
    return _slip(result, habit.compute_offset)


def _conclusions(errors: Errors, result: int) -> dict[int, float]:
    """What step 5 may answer."""
    return _mix(errors.conclusion_slip, _slips(result, errors.far), {result: 1.0})
