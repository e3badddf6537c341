"""The language-modelling pool: captions and arithmetic exercises, none of them a chain of thought.

It teaches the base model to see and to count, in sentences that no CoT holds, so that the base model can
describe an image without being able to judge a CoT by its likelihood. A caption names each side by its place
("left bar 3") or by its value ("3 on left bar"), the two sides in either order.
"""

from __future__ import annotations

import random

from dreamprm.sandbox.domains import Problem, draw_problem
from dreamprm.sandbox.scenes import SKILLS, VALUES


def generate_captions(count: int, *, seed: int) -> list[tuple[Problem, str]]:
    """(problem, caption) pairs; the problem only carries the scene and its image path."""
    rng = random.Random(f"{seed}/captions")
    pairs = []
    for i in range(count):
        left, right = rng.choice(SKILLS), rng.choice(SKILLS)
        # Mostly one skill on both sides, as in the training sets; some captions mix them, as books do.
        problem = draw_problem(
            rng, f"images/pool/{i:05d}.png", skills=(left, left if rng.random() < 0.8 else right)
        )
        scene = problem.scene
        # Named by its place or by its value: the reader learns to look both ways.
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
    """Every exercise over the scene values once, and the sums and differences a second operation may need."""
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
