"""No two selectors look alike, to colour-blind readers either."""

from itertools import combinations

import numpy as np
import pytest

from dreamprm.evaluation.plots import style
from dreamprm.evaluation.plots.style import selector_styles
from dreamprm.evaluation.selector_names import SHORT

UNKNOWN = [f"mine{k}" for k in range(4)]
# Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291, severity 1: linear RGB as each reader sees it.
VISION = {
    "common": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
ALIKE = 12.0  # CIE 1976 difference below which thin lines of two colours are taken for one


def linear(colour):
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear sRGB under D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (
        np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116
        for v in matrix @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_measure_of_colours():
    np.testing.assert_allclose(lab(linear("#ffffff")), [100, 0, 0], atol=0.02)  # the matrix has four digits
    np.testing.assert_allclose(lab(linear("#ff0000")), [53.24, 80.09, 67.20], atol=0.1)


@pytest.mark.parametrize("vision", VISION)
def test_colours_that_look_alike_have_other_dashes(vision):
    looks = selector_styles([*SHORT, *UNKNOWN])
    seen = {name: lab(np.asarray(VISION[vision]) @ linear(look.colour)) for name, look in looks.items()}
    alike = [
        (a, b)
        for a, b in combinations(looks, 2)
        if np.linalg.norm(seen[a] - seen[b]) < ALIKE and looks[a].dash == looks[b].dash
    ]
    assert alike == []


def test_every_known_selector_has_a_look_of_its_own():
    looks = selector_styles([*SHORT, *UNKNOWN])
    assert len({look.marker for look in looks.values()}) == len(looks) == len(SHORT) + 4
    assert not set(SHORT) - set(style._SELECTORS)
    # 3 : 1 on white is what WCAG 2.2 asks of lines; base_head's blue is older and has 2.9.
    faint = [
        name
        for name, look in looks.items()
        if 1.05 / (linear(look.colour) @ [0.2126, 0.7152, 0.0722] + 0.05) < 3.0
    ]
    assert faint == ["base_head"]


def test_no_two_of_many_unknown_selectors_are_alike():
    names = [f"mine{k}" for k in range(16)]
    looks = selector_styles([*names, *(f"weighted_{name}" for name in (*names, *SHORT)), *SHORT])
    assert len(set(looks.values())) == len(looks)
    # A selector looks the same whether or not its votes are shown too.
    assert selector_styles(names) == {name: looks[name] for name in names}


def test_a_weighted_vote_has_its_scorers_colour_and_a_hollow_marker():
    look = selector_styles(["weighted_dreamprm", "dreamprm"])
    assert look["weighted_dreamprm"].colour == look["dreamprm"].colour
    assert (look["dreamprm"].face, look["weighted_dreamprm"].face) == (look["dreamprm"].colour, "white")
    assert look["weighted_dreamprm"].dash != look["dreamprm"].dash
