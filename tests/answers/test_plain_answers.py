"""Answers without dress."""

import pytest

from dreamprm.answers.plain import plain


@pytest.mark.parametrize(
    "dressed, bare",
    [
        ("$\\boxed{\\text{(B)}}$", "(B)"),
        ("\\(\\mathrm{B}\\)", "B"),
        ("\\[ 5 \\]", "5"),
        ("**B**.", "B"),
        ("__yes__", "yes"),
        ("{parrot}", "parrot"),
        ("\\{1, 2\\}", "\\{1, 2\\}"),
        ("\\dfrac{1}{2}", "\\frac{1}{2}"),
        ("30 \\mathrm{~cm}^{2}", "30 cm^{2}"),
        ("60^{\\circ}", "60\u00b0"),
        ("\\$5", "$5"),
        ("\\textdollar 5", "$5"),
        ("$5", "$5"),
        ("$5$", "5"),
        ("30\\%", "30%"),
        ("12{,}000", "12,000"),
        ("12\\,000", "12,000"),
        ("\\left(3, -4\\right)", "(3, -4)"),
        ("\u22125", "-5"),
        ("2\u03c0", "2\\pi"),
        ("to be continued...", "to be continued..."),
        ("\\text{cut off", "cut off"),
    ],
)
def test_plain(dressed, bare):
    assert plain(dressed) == bare
