"""Numbers and units read from short texts."""

import random
from fractions import Fraction

import pytest

from dreamprm.answers.quantity import canonical_unit, only_quantity, read_quantity

VALUES = [
    ("5", 5),
    ("-5", -5),
    ("+5", 5),
    ("- 5", -5),
    ("\u22125", -5),
    ("5.", 5),
    (".5", "1/2"),
    ("-.5", "-1/2"),
    ("5.0", 5),
    ("1,234", 1234),
    ("12{,}000", 12000),
    ("12\\,000", 12000),
    ("12 000", 12000),
    ("12,345,678.9", "123456789/10"),
    ("3/4", "3/4"),
    ("-3/4", "-3/4"),
    ("\\frac{3}{4}", "3/4"),
    ("\\dfrac34", "3/4"),
    ("-\\frac{1}{2}", "-1/2"),
    ("\\frac{-1}{2}", "-1/2"),
    ("1 1/2", "3/2"),
    ("1\\frac{1}{2}", "3/2"),
    ("-1\\frac12", "-3/2"),
    ("1.5/3", "1/2"),
    ("1.2e-3", "3/2500"),
    ("1E3", 1000),
    ("1.2 \\times 10^{-3}", "3/2500"),
    ("1.2 x 10^3", 1200),
    ("10^5", 100000),
    ("10^{-2}", "1/100"),
    ("seven", 7),
    ("Twenty-one apples", 21),
    ("3 million", 3_000_000),
    ("two hundred", 200),
    ("x = 5", 5),
    ("2 + 3 = 5", 5),
    ("\\angle ABC = 40^\\circ", 40),
    ("about 5", 5),
    ("\\approx 5.2", "26/5"),
    ("x \\approx 5", 5),
    ("\\sqrt{27} \u2248 5.2", "26/5"),
    ("a = \\frac{1}{3} \\approx 0.3", "3/10"),
    ("(5)", 5),
    ("$5", 5),
    ("-$5", -5),
    ("5 different digits", 5),
    ("5 apples", 5),
    ("\\$5.50", "11/2"),
]


@pytest.mark.parametrize("text, value", VALUES)
def test_the_value_is_exact(text, value):
    quantity = read_quantity(text)
    assert quantity is not None and quantity.value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "2\\pi",
        "\\sqrt{2}",
        "3:4",
        "3 or 4",
        "5x",
        "0.5x",
        "5ab",
        "3,5",
        "1,2,3",
        "(3,-4)",
        "x=2, y=3",
        "3x=5",
        "6-4",
        "2 - 4",
        "5^2",
        "2^{10}",
        "1/0",
        "\\frac{1}{0}",
        "1 1/0",
        "one half",
        "two thirds",
        "5 and a half",
        "5 or more",
        "10%-20%",
        "1e99999",
        "10^{99999}",
        "9" * 200,
        "x < 5",
        "\\frac{1}{2}\\pi",
        "5 of 10",
        "1.2.3",
    ],
)
def test_what_is_no_number(text):
    assert read_quantity(text) is None


@pytest.mark.parametrize(
    "text, decimals",
    [
        ("5", 0),
        ("5.0", 1),
        ("2.50", 2),
        (".125", 3),
        ("1,234.5", 1),
        ("1/2", None),
        ("1e-3", None),
        ("3 million", None),
    ],
)
def test_the_decimals_are_those_written(text, decimals):
    quantity = read_quantity(text)
    assert quantity is not None and quantity.decimals == decimals


@pytest.mark.parametrize(
    "text, unit",
    [
        ("5 cm", "cm"),
        ("5cm", "cm"),
        ("5 \\text{ cm}^2", "cm^2"),
        ("5 square centimetres", "cm^2"),
        ("5 centimeters squared", "cm^2"),
        ("5 cubic metres", "m^3"),
        ("60^{\\circ}", "\u00b0"),
        ("60 degrees", "\u00b0"),
        ("20\u00b0C", "\u00b0C"),
        ("5 km/h", "km/h"),
        ("5 km per hour", "km/h"),
        ("5 kmh", "km/h"),
        ("\\$5", "$"),
        ("$5 per year", "$/year"),
        ("$5/year", "$/year"),
        ("$5 in total", "$"),
        ("5 dollars", "$"),
        ("5 USD", "$"),
        ("\u20ac5", "\u20ac"),
        ("5 euros", "\u20ac"),
        ("5 apples", None),
        ("5", None),
        ("5 in total", None),
        ("25%", None),
    ],
)
def test_the_unit_has_one_spelling(text, unit):
    quantity = read_quantity(text)
    assert quantity is not None and quantity.unit == unit


@pytest.mark.parametrize("text", ["25%", "25\\%", "25 percent", "25 per cent"])
def test_percentages_are_marked(text):
    quantity = read_quantity(text)
    assert quantity is not None and quantity.percent and quantity.value == 25


@pytest.mark.parametrize(
    "text, unit",
    [
        ("metres", "m"),
        ("M", None),
        ("min", "min"),
        ("", None),
        ("sq ft", "ft^2"),
        ("m / s", "m/s"),
        ("apples / h", None),
    ],
)
def test_units_alone(text, unit):
    assert canonical_unit(text) == unit


def test_any_decimal_is_read_as_its_exact_value():
    draw = random.Random(0)
    for _ in range(300):
        digits, places = draw.randrange(10**9), draw.randrange(7)
        written = f"{digits // 10**places:,}" + (f".{digits % 10**places:0{places}d}" if places else "")
        dress = draw.choice(["{}", "${}$", "\\text{{{}}}", "{} cm", "x = {}"])
        quantity = read_quantity(dress.format(written))
        assert quantity is not None, written
        assert (quantity.value, quantity.decimals) == (Fraction(digits, 10**places), places), written


@pytest.mark.parametrize(
    "text, value",
    [
        ("There are 5 apples.", 5),
        ("The middle number is \\(5\\).", 5),
        ("A4 has 3 sides", 3),
        ("about 25% of it", 25),
        ("It takes -3 steps", -3),
    ],
)
def test_the_one_number_of_a_sentence(text, value):
    quantity = only_quantity(text)
    assert quantity is not None and quantity.value == value


@pytest.mark.parametrize(
    "text",
    [
        "no number",
        "the 3 squares have 12 sides",
        "8 - 6\\pi",
        "24 - 13",
        "a 5x5 grid",
        "x_1 and A4",
        "1:2",
        "2\\pi",
        "2^5",
        "x^2 has roots",
        "5 out of 10",
        "3,5",
        "see " + "9" * 15_000,
    ],
)
def test_a_sentence_with_no_or_several_numbers(text):
    assert only_quantity(text) is None


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "a" * 118 + "!", "1 " * 50_000, "((" * 50, "5 " + "a-" * 55 + "!"]
)
def test_no_text_takes_long(text):
    assert read_quantity(text) is None
