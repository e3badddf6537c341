"""Waits between tries: bounds, jitter, and what a server asks for."""

import math
from datetime import UTC, datetime

import pytest

from dreamprm.config.errors import UserError
from dreamprm.runtime.retries import Retries, retry_after


def test_waits_double_up_to_the_longest() -> None:
    retries = Retries(count=5, first=1.0, longest=6.0)
    low = [retries.wait(k, asked=None, uniform=0.0) for k in range(1, 6)]
    high = [retries.wait(k, asked=None, uniform=1.0) for k in range(1, 6)]
    assert low == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert high == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_the_server_is_never_asked_before_its_time() -> None:
    retries = Retries(count=3, first=1.0, longest=60.0)
    assert retries.wait(1, asked=7.0, uniform=0.3) == 7.0
    assert retries.wait(3, asked=0.5, uniform=0.0) == 2.0


def test_no_wait_where_no_try_is_left_or_the_server_asks_for_too_long() -> None:
    retries = Retries(count=2, first=1.0, longest=60.0)
    assert retries.wait(2, asked=60.0, uniform=0.0) == 60.0
    assert retries.wait(3, asked=None, uniform=0.0) is None
    assert retries.wait(1, asked=60.1, uniform=0.0) is None
    assert retries.wait(1, asked=math.inf, uniform=0.0) is None
    assert Retries(count=0).wait(1, asked=None, uniform=0.0) is None


def test_a_thousand_failures_do_not_overflow() -> None:
    assert Retries(count=10**6, longest=9.0).wait(10**5, asked=None, uniform=1.0) == 9.0


NOW = datetime(2015, 10, 21, 7, 28, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.25", 0.25),
        ("-1", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:30 -0000", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("nan", None),
    ],
)
def test_both_forms_of_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize("name", ["count", "first", "longest"])
def test_negative_settings_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} must be >= 0, got -1"):
        Retries(**{name: -1})
