"""Numbers: rounding as MathVista does, percentages, units, sentences."""

import random

import pytest
from answer_questions import question

from dreamprm.answers import build_checker
from dreamprm.config.errors import UserError

CHECKER = build_checker("numeric")


def verdict(response, answer, **record):
    return CHECKER.check(response, question(answer, **record)).verdict


@pytest.mark.parametrize(
    "stated, answer, precision, expected",
    [
        ("1.24", "1.2", 1, "right"),
        ("1.26", "1.2", 1, "wrong"),
        ("1.19", "1.2", 1, "right"),
        ("1.14", "1.2", 1, "wrong"),
        ("3.14159", "3.14", 2, "right"),
        ("3.1", "3.14", 2, "wrong"),
        ("1/3", "0.33", 2, "right"),
        ("-0.004", "0", 2, "right"),
        ("0.005", "0.01", 2, "right"),  # a tie: half up ...
        ("0.125", "0.12", 2, "right"),  # ... and half to even, as Python's round
        ("61.3", "61", 0, "right"),
        ("61.6", "61", 0, "wrong"),
        ("3.14", "3.14159", 2, "right"),
    ],
)
def test_both_are_rounded_to_the_precision_given(stated, answer, precision, expected):
    assert verdict(f"\\boxed{{{stated}}}", answer, answer_type="float", precision=precision) == expected


def test_rounding_agrees_with_mathvistas_rule():
    """`str(round(float(x), precision)) == answer` of calculate_score.py, on numbers that are no ties."""
    draw = random.Random(1)
    counts = {"right": 0, "wrong": 0}
    for _ in range(1000):
        precision = draw.choice([1, 2, 3])
        exact = draw.uniform(-50, 50)
        answer = str(round(exact, precision))
        stated = repr(exact + draw.choice([0, 0.3, 0.7]) * 10**-precision)
        rule = "right" if str(round(float(stated), precision)) == answer else "wrong"
        counts[rule] += 1
        assert verdict(stated, answer, answer_type="float", precision=precision) == rule, (stated, answer)
    assert min(counts.values()) > 200


@pytest.mark.parametrize(
    "stated, answer, expected",
    [
        ("2.52", "2.5", "right"),
        ("2.56", "2.5", "wrong"),
        ("2", "2.5", "wrong"),  # the reference's decimals
        ("61.3", "61", "wrong"),
        ("61.0", "61", "right"),
        ("61.00001", "61", "right"),  # whole: relative 1e-6
        ("0.3333333", "1/3", "right"),
        ("0.333", "1/3", "wrong"),
        ("2/6", "\\frac{1}{3}", "right"),
        ("1200000", "1.2e6", "right"),
        ("0", "0", "right"),
        ("0.0000001", "0", "wrong"),
        ("-5", "5", "wrong"),
        ("12,000", "12000", "right"),
        ("seven", "7", "right"),
        ("$7", "7", "right"),
    ],
)
def test_without_a_precision(stated, answer, expected):
    assert verdict(f"\\boxed{{{stated}}}", answer) == expected


def test_integers_are_not_cut():
    # MathVista's int(float(x)) takes 5.9 as 5
    assert verdict("5.9", "5", answer_type="integer") == "wrong"
    assert verdict("5.0", "5", answer_type="integer") == "right"
    assert verdict("5.0000001", "5", answer_type="integer") == "wrong"


def test_the_tolerance_is_relative():
    loose = build_checker("numeric", tolerance=0.05)
    assert loose.check("104", question("100")).verdict == "right"
    assert loose.check("106", question("100")).verdict == "wrong"


@pytest.mark.parametrize(
    "stated, answer, unit, expected",
    [
        ("25%", "25%", None, "right"),
        ("25", "25%", None, "right"),
        ("0.25", "25%", None, "right"),
        ("26%", "25%", None, "wrong"),
        ("25%", "0.25", None, "right"),
        ("25%", "25", None, "right"),
        ("25%", "25", "%", "right"),
        ("0.25", "25", "%", "right"),
        ("0.5%", "0.5", None, "wrong"),
        ("0.5%", "0.5", "%", "right"),
        ("1/4", "25%", None, "right"),
        ("0.25", "25", None, "wrong"),
    ],
)
def test_percentages(stated, answer, unit, expected):
    assert verdict(f"\\boxed{{{stated}}}", answer, unit=unit) == expected


@pytest.mark.parametrize(
    "stated, answer, unit, expected",
    [
        ("5 cm", "5", "cm", "right"),
        ("5", "5", "cm", "right"),
        ("5 centimetres", "5", "cm", "right"),
        ("5 cm", "5", None, "right"),
        ("5 cm", "5 cm", None, "right"),
        ("6 cm", "5 cm", None, "wrong"),
        ("5 apples", "5", "cm", "right"),
        ("5 mm", "5", "cm", "wrong"),
        ("50 mm", "5 cm", None, "right"),
        ("5 cm^2", "5 cm", None, "undecided"),
        ("\\$5", "5", "dollars", "right"),
        ("60^\\circ", "60", "degrees", "right"),
    ],
)
def test_units(stated, answer, unit, expected):
    assert verdict(f"\\boxed{{{stated}}}", answer, unit=unit) == expected


@pytest.mark.parametrize(
    "response, expected",
    [
        ("We count them.\nSo there are 12 of them.", "right"),
        ("Hence 3 times 4 is 12", "right"),
        ("3 \\times 4 = 12 cm", "right"),
        ("There are 3 rows of 12", "undecided"),
        ("The answer is 12 or 13", "undecided"),
        ("I cannot tell.", "undecided"),
        ("The answer is unclear", "undecided"),
        ("\\boxed{12 - 6\\pi}", "undecided"),
        ("", "undecided"),
        ("The answer is 13 of them.", "wrong"),
    ],
)
def test_numbers_in_sentences(response, expected):
    assert verdict(response, "12") == expected


def test_what_is_extracted():
    judgement = CHECKER.check("We find the area.\nSo the answer is A = 12 cm^2.", question("12"))
    assert (judgement.verdict, judgement.extracted) == ("right", "12 cm^2")
    assert judgement.reason == "answer is: the same number"
    assert CHECKER.check("", question("12")).extracted is None


def test_a_reference_that_is_no_number():
    judgement = CHECKER.check("5", question("a cat"))
    assert judgement.verdict == "undecided" and "reference 'a cat' is not a number" in judgement.reason


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_out_of_range(tolerance):
    with pytest.raises(UserError, match="tolerance must be >= 0 and < 1, got"):
        build_checker("numeric", tolerance=tolerance)
