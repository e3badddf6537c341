"""Settings of a wrong type or out of range are refused by a message that names them."""

import math

import pytest

from dreamprm.hypergrad.checks import check_choice, check_count, check_positive, check_preconditioner


@pytest.mark.parametrize(
    "value, zero, message",
    [
        ("high", False, "^damping must be a number > 0, got 'high'; lower it$"),
        (True, False, "must be a number > 0, got True"),
        (None, True, "must be a number >= 0, got None"),
        (0.0, False, "must be > 0, got 0.0"),
        (-0.1, True, "must be >= 0, got -0.1"),
        (math.nan, False, "must be > 0, got nan"),
        (math.inf, True, "must be >= 0, got inf"),
    ],
)
def test_what_is_no_positive_number_is_refused(value, zero, message):
    with pytest.raises(ValueError, match=message):
        check_positive(value, setting="damping", advice="lower it", zero=zero)


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True, None])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ValueError, match=f"^terms must be a whole number >= 1, got {value!r}$"):
        check_count(value, setting="terms")


@pytest.mark.parametrize("value", ["c", 1, ["a"], {}])
def test_what_is_no_choice_is_refused(value):
    with pytest.raises(ValueError, match="^kind must be one of None, a, b, got "):
        check_choice(value, setting="kind", allowed=(None, "a", "b"))


@pytest.mark.parametrize("value", ["adam", 1, ["adamw"]])
def test_what_is_no_preconditioner_is_refused(value):
    with pytest.raises(ValueError, match='^preconditioner must be None or "adamw", got '):
        check_preconditioner(value)


def test_what_is_allowed_passes():
    check_positive(1, setting="x")
    check_positive(0, setting="x", zero=True)
    check_count(1, setting="x")
    check_choice(None, setting="x", allowed=(None, "a"))
    check_choice("a", setting="x", allowed={"a": 1})
    check_preconditioner(None)
    check_preconditioner("adamw")
