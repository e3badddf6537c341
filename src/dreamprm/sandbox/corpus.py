"""The language-modelling pool: captions and arithmetic exercises, none of them a chain of thought.

It teaches the base model to see and to count, in sentences that occur in no CoT, so that the base model can
describe an image but cannot judge a CoT by its likelihood. A caption starts each side with its place ("left
bar 3") or with its value ("3 on left bar"), and gives the two sides in either order.
"""

from __future__ import annotations

import random

from dreamprm.sandbox.domains import Problem, draw_problem
from dreamprm.sandbox.scenes import SKILLS, VALUES


def generate_captions(count: int, *, seed: int) -> list[tuple[Problem, str]]:
    """(problem, caption) pairs; only the problem's scene and image path are used."""
    rng = random.Random(f"{seed}/captions")
    pairs = []
    for i in range(count):
        left, right = rng.choice(SKILLS), rng.choice(SKILLS)
        # Mostly one skill on both sides, as in the training sets; some captions mix two.
        problem = draw_problem(
            rng, f"images/pool/{i:05d}.png", skills=(left, left if rng.random() < 0.8 else right)
        )
        scene = problem.scene
        # Place first or value first, so that the model learns to read both ways.
        if rng.random() < 0.5:
            sides = [f"left {scene.left_skill} {scene.left}", f"right {scene.right_skill} {scene.right}"]
        else:
            sides = [
                f"{scene.left} on left {scene.left_skill}",
                f"{scene.right} on right {scene.right_skill}",
            ]
        # In either order, so that the words, not their places, say which side is meant.
        rng.shuffle(sides)
        pairs.append((problem, f"picture : {sides[0]} , {sides[1]}"))
    return pairs


def generate_exercises() -> list[str]:
    """Every exercise on the scene values, and the sums and differences a second operation may need."""
    exercises = []
    for left in VALUES:
        for right in VALUES:
            exercises.append(f"exercise : {left} plus {right} equals {left + right}")
            exercises.append(f"exercise : larger of {left} and {right} equals {max(left, right)}")
            if left >= right:
                exercises.append(f"exercise : {left} minus {right} equals {left - right}")
    for first in range(13):
        for second in range(1, 5):
            exercises.append(f"exercise : {first} plus {second} equals {first + second}")
            if first >= second:
                exercises.append(f"exercise : {first} minus {second} equals {first - second}")
    return sorted(set(exercises))
