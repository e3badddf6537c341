"""Images of the generated world: size, determinism, and that a value can be told from the pixels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from dreamprm.sandbox.scenes import (
    CATEGORIES,
    IMAGE_SIZE,
    SHIFTED_STYLE,
    SKILLS,
    TRAINING_STYLE,
    VALUES,
    Scene,
    draw,
    held_out_pair,
)


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("seed", range(3))
def test_six_values_are_drawn_differently_on_either_side(skill: str, seed: int) -> None:
    for side in ("left", "right"):
        scene = Scene(skill, skill, 3, 3, seed)
        pixels = {draw(replace(scene, **{side: value})).tobytes() for value in VALUES}
        assert len(pixels) == 6


@pytest.mark.parametrize("style", [TRAINING_STYLE, SHIFTED_STYLE], ids=["training", "shifted"])
@pytest.mark.parametrize("skill", SKILLS)
def test_an_image_is_a_function_of_its_scene(skill: str, style: object) -> None:
    scene = Scene(skill, "bar", 2, 5, seed=11, style=style)
    image = draw(scene)
    assert (image.mode, image.size) == ("RGB", (56, 56)) and IMAGE_SIZE == 56
    assert draw(scene).tobytes() == image.tobytes()
    # Another seed is another nuisance.
    assert len({draw(replace(scene, seed=seed)).tobytes() for seed in range(8)}) > 4


@pytest.mark.parametrize("skill", SKILLS)
def test_each_side_is_drawn_on_its_own_half(skill: str) -> None:
    """The left value changes pixels of the left half only: its two visual tokens, and one pixel of shift."""
    for seed in range(5):
        images = [draw(Scene(skill, skill, value, 4, seed)) for value in VALUES]
        half = (IMAGE_SIZE // 2 + 1, 0, IMAGE_SIZE, IMAGE_SIZE)
        # Skills that spend random numbers on a value move what comes after; all others leave it untouched.
        if skill not in ("pile", "segment"):
            assert len({image.crop(half).tobytes() for image in images}) == 1


def test_styles_share_no_colour_and_only_the_shifted_one_is_noisy() -> None:
    assert not set(TRAINING_STYLE.inks) & set(SHIFTED_STYLE.inks)
    assert not set(TRAINING_STYLE.papers) & set(SHIFTED_STYLE.papers)
    scene = Scene("bar", "die", 1, 2, seed=0)
    corner = draw(scene).crop((0, 0, 28, 3))
    assert len(corner.getcolors()) == 1
    noisy = draw(replace(scene, style=SHIFTED_STYLE)).crop((0, 0, 28, 3))
    assert len(noisy.getcolors()) > 10


def test_held_out_pairs_are_a_permutation_without_a_rule() -> None:
    """Each value misses one partner on either side, and no sum or difference tells which."""
    held_out = [pair for pair in itertools.product(VALUES, VALUES) if held_out_pair(*pair)]
    assert len(held_out) == 6
    assert sorted(right for _, right in held_out) == list(VALUES)
    assert sorted(left for left, _ in held_out) == list(VALUES)
    for sign in (1, -1):
        chosen = {left + sign * right for left, right in held_out}
        others = {
            left + sign * right
            for left, right in itertools.product(VALUES, VALUES)
            if not held_out_pair(left, right)
        }
        assert len(chosen) > 2 and chosen <= others


def test_categories_are_the_papers_four_with_two_skills_each() -> None:
    assert list(CATEGORIES) == ["charts", "geometry", "science", "commonsense"]
    assert len(set(SKILLS)) == 8 and all(len(skills) == 2 for skills in CATEGORIES.values())
