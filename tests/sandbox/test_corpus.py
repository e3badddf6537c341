"""The text pool: true captions and sums, in no form of a chain of thought."""

from __future__ import annotations

import operator
import re
from collections import Counter

from dreamprm.sandbox.corpus import generate_captions, generate_exercises
from dreamprm.sandbox.scenes import SKILLS, TRAINING_STYLE, held_out_pair

CAPTIONS = generate_captions(400, seed=0)
# Words of the chains of thought alone, and words of judgement.
FORBIDDEN = re.compile(
    r"Step|Final|answer|gives|find|need|means|says|add|get\b|so\b|is\b|user|assistant"
    r"|correct|wrong|true|false|yes|no\b"
)


def test_no_text_has_a_chains_form_or_judges() -> None:
    for text in [caption for _, caption in CAPTIONS] + generate_exercises():
        assert not FORBIDDEN.search(text)
        assert "\n" not in text


def test_a_caption_names_both_sides_as_drawn() -> None:
    forms: Counter[tuple[str, str]] = Counter()
    for problem, caption in CAPTIONS:
        scene = problem.scene
        sides = {
            "place": (f"left {scene.left_skill} {scene.left}", f"right {scene.right_skill} {scene.right}"),
            "value": (
                f"{scene.left} on left {scene.left_skill}",
                f"{scene.right} on right {scene.right_skill}",
            ),
        }
        forms.update(
            found := [
                (form, first)
                for form, (left, right) in sides.items()
                for first, text in (("left", f"{left} , {right}"), ("right", f"{right} , {left}"))
                if caption == f"picture : {text}"
            ]
        )
        assert len(found) == 1, caption
        assert scene.style == TRAINING_STYLE and not held_out_pair(scene.left, scene.right)
    # Four forms, a quarter each: three deviations of .022.
    assert len(forms) == 4 and all(abs(n / len(CAPTIONS) - 0.25) < 0.066 for n in forms.values())
    assert {problem.scene.left_skill for problem, _ in CAPTIONS} == set(SKILLS)
    mixed = sum(problem.scene.left_skill != problem.scene.right_skill for problem, _ in CAPTIONS)
    # A fifth draws the right skill anew, of which an eighth is the same: .175, three deviations of .019.
    assert abs(mixed / len(CAPTIONS) - 0.175) < 0.06


def test_captions_follow_from_the_seed() -> None:
    assert generate_captions(5, seed=1) == generate_captions(5, seed=1) != generate_captions(5, seed=2)


def test_exercises_are_true_and_each_is_there_once() -> None:
    exercises = generate_exercises()
    assert len(set(exercises)) == len(exercises)
    signs = {"plus": operator.add, "minus": operator.sub}
    for exercise in exercises:
        if match := re.fullmatch(r"exercise : larger of (\d+) and (\d+) equals (\d+)", exercise):
            left, right, result = map(int, match.groups())
            assert max(left, right) == result
        else:
            match = re.fullmatch(r"exercise : (\d+) (plus|minus) (\d+) equals (\d+)", exercise)
            assert match is not None, exercise
            assert signs[match[2]](int(match[1]), int(match[3])) == int(match[4])
    # What a verifier needs: all sums, differences and maxima of two values.
    for left in range(1, 7):
        for right in range(1, 7):
            assert f"exercise : {left} plus {right} equals {left + right}" in exercises
            assert f"exercise : larger of {left} and {right} equals {max(left, right)}" in exercises
            larger, smaller = max(left, right), min(left, right)
            assert f"exercise : {larger} minus {smaller} equals {larger - smaller}" in exercises
