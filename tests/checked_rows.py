"""Many rows of a table in one test: each is checked, and the failure names all that failed.

A test item costs some ten milliseconds before it does anything, in every test process.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

import pytest
import torch

Row = TypeVar("Row")


def check_each(rows: Mapping[str, Row], check: Callable[[Row], Any]) -> None:
    """Call `check` with each row, from the random state that a test of its own would start with.

    Raises:
        AssertionError: a check failed; the message has the labels of all that did, and the first one's error
            is its cause.
    """
    failed: dict[str, Exception] = {}
    for label, row in rows.items():
        torch.manual_seed(0)
        try:
            check(row)
        except pytest.skip.Exception:
            continue  # this row does not apply
        except Exception as error:
            failed[label] = error
    if failed:
        lines = [f"{label}: {type(error).__name__} {str(error)[:300]}" for label, error in failed.items()]
        message = "\n".join([f"{len(failed)} of {len(rows)} rows failed:", *lines])
        raise AssertionError(message) from next(iter(failed.values()))


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
