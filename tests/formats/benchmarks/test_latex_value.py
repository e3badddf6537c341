"""Values of arithmetic expressions."""

import math

import pytest

from dreamprm.formats.benchmarks.latex_value import latex_value


@pytest.mark.parametrize(
    "text, value",
    [
        ("7", 7),
        ("-.5", -0.5),
        ("2 + 3*4", 14),
        ("2^3", 8),
        ("-2^2", -4),
        ("2^{-1}", 0.5),
        ("2^2^3", 256),
        ("(1+2)(3)", 9),
        ("3:4", 0.75),
        ("10 \\div 4", 2.5),
        ("6 / 3 / 2", 1),
        ("2\\pi", 2 * math.pi),
        ("pi", math.pi),
        ("\\frac{1}{2}", 0.5),
        ("\\frac12", 0.5),
        ("\\frac{1}2", 0.5),
        ("\\frac{\\sqrt{2}}{2}", 2**-0.5),
        ("\\sqrt[3]{8}", 2),
        ("8-6\\sqrt{4}", -4),
        ("2^{12}13", 4096 * 13),
        ("[1+1]\\cdot 2", 4),
        ("\\displaystyle\\frac{3}{4}", 0.75),
    ],
)
def test_values(text: str, value: float) -> None:
    assert latex_value(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2x",
        "2 3",
        "1.2.3",
        "(1",
        "1)",
        "{1)",
        "1 +",
        "\\frac{1}",
        "1 = 1",
        "(1, 2)",
        "\\sqrt{-1}",
        "1/0",
        "(-8)^{1/3}",
        "9^{9^{9^9}}",
        "\\alpha",
        "1" * 201,
        "(" * 150,
        "5.soitis",
    ],
)
def test_what_is_no_value(text: str) -> None:
    assert latex_value(text) is None
