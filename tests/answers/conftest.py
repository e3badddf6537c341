"""The checker that most users have."""

from collections.abc import Iterator

import pytest

from dreamprm.answers import Checker, build_checker


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """`auto` without a judge; its worker for expressions serves a whole module."""
    made = build_checker("auto", timeout=20.0)
    yield made
    made.close()
