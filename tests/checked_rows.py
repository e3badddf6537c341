"""Many rows of a table in one test, whose failure names all rows that failed.

A test item costs some ten milliseconds before it does anything, in every test process. Of a long table each
test checks a share of the rows, its own one, so that the tests together see every row several times; CI takes
another share (`--third`) for each commit. With `--all-rows` each test checks all of them.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar
from zlib import crc32

import pytest
import torch

Row = TypeVar("Row")
# One in so many rows is checked, and all of a table of no more rows.
SHARE = 3
all_rows = False
"""Whether `--all-rows` was given."""
turn = 0
"""Which share: `--third`."""


def check_each(rows: Mapping[str, Row], check: Callable[[Row], Any]) -> None:
    """Call `check` with each row, from the random state that a test of its own would start with.

    Raises:
        AssertionError: a check failed; the message has the labels of all that did, and the first one's error
            is its cause.
    """
    failed: dict[str, Exception] = {}
    checked = chosen(rows)
    for label, row in checked.items():
        torch.manual_seed(0)
        try:
            check(row)
        except pytest.skip.Exception:
            continue  # this row does not apply
        except Exception as error:
            failed[label] = error
    if failed:
        lines = [f"{label}: {type(error).__name__} {str(error)[:300]}" for label, error in failed.items()]
        message = "\n".join([f"{len(failed)} of {len(checked)} rows failed:", *lines])
        raise AssertionError(message) from next(iter(failed.values()))


def chosen(rows: Mapping[str, Row]) -> Mapping[str, Row]:
    """The rows of a table that the running test checks."""
    if all_rows or len(rows) <= SHARE:
        return rows
    test = os.environ["PYTEST_CURRENT_TEST"]
    drawn = {label: crc32(f"{test} {label}".encode()) for label in rows}
    least = min(drawn, key=lambda label: drawn[label])
    taken = {label for label in rows if drawn[label] % SHARE == turn % SHARE or label == least}
    return {label: row for label, row in rows.items() if label in taken}


def each(argument: str, rows: Mapping[str, Any] | Iterable[Any]) -> Callable[[Callable[..., None]], Any]:
    """A decorator in place of `parametrize`: the test checks all rows, by name where they have one."""
    named = dict(rows) if isinstance(rows, Mapping) else {str(row): row for row in rows}

    def decorate(test: Callable[..., None]) -> Any:
        @wraps(test)
        def check_all(**others: Any) -> None:
            check_each(named, lambda row: test(**{**others, argument: row}))

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name != argument]
        check_all.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return check_all

    return decorate
