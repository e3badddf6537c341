"""The tables of the page: cells with small print below them, rows, groups of rows.

And what the tables of an evaluation share: its suites, its selectors in groups, counts and lists in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.evaluation.number_text import MEAN, percent
from dreamprm.evaluation.selector_names import BEST_GENERATOR, WEIGHTED, is_scorer, ordered_scorers


@dataclass(frozen=True)
class Cell:
    """A figure and the small print below it.

    Attributes:
        main: the figure.
        small: lines below it, such as its interval.
        marks: significance marks below them.
        strong: whether it is printed bold.
        resampled: whether the figure is undefined in some bootstrap samples, which a footnote then says.
    """

    main: str
    small: tuple[str, ...] = ()
    marks: str = ""
    strong: bool = False
    resampled: bool = False


ABSENT = Cell("–")
"""Shown if a suite lacks the selector."""


@dataclass(frozen=True)
class Row:
    """A row of a table and the name that heads it.

    Attributes:
        small: small print below the name.
        note: for a guess, what it answers; "" for a selector or scorer.
    """

    name: str
    cells: tuple[Cell, ...]
    small: str = ""
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under a heading of their own; `note` is shown next to it, such as the suites in the rows' mean."""

    title: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Groups of rows with the same columns.

    Attributes:
        head: for each column, its name and the small print below it; the row names have no entry.
        groups: of rows with a cell for each column.
    """

    head: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]

    @property
    def resampled(self) -> bool:
        """Whether any cell needs the footnote that not all bootstrap samples count."""
        return any(cell.resampled for group in self.groups for row in group.rows for cell in row.cells)


def places(result: Mapping[str, Any]) -> list[str]:
    """The suites in their order, and their mean if there are several."""
    names = list(result["suites"])
    return [*names, MEAN] if len(names) > 1 else names


def grouped(selectors: Iterable[str], row: Callable[[str], Row]) -> tuple[Group, ...]:
    """The selectors' rows in the order of the paper's table, grouped by how they choose; no group is empty.

    Scorers are in the order of `ordered_scorers`, dreamprm last; the ceiling is the last group.
    """
    there = list(dict.fromkeys(selectors))
    weighted = ordered_scorers([name.removeprefix(WEIGHTED) for name in there if name.startswith(WEIGHTED)])
    groups: Sequence[tuple[str, Sequence[str]]] = (
        ("One response, or a vote", ("random", "first", "majority")),
        ("A vote weighted by scores", [WEIGHTED + name for name in weighted]),
        ("One generator throughout", (BEST_GENERATOR,)),
        ("The highest score", ordered_scorers([name for name in there if is_scorer(name)])),
        ("Ceiling", ("oracle",)),
    )
    shown = ((title, tuple(row(name) for name in names if name in there)) for title, names in groups)
    return tuple(Group(title, rows) for title, rows in shown if rows)


def counted(count: int, what: str) -> str:
    """A number and a noun. Example: (1, "question") -> "1 question"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def candidates_text(suite: Mapping[str, Any]) -> str:
    """How many candidates the questions of a suite have. Example: "N = 8", "N = 1 to 8"."""
    sizes = sorted(int(n) for n in suite["candidates"])
    return f"N = {sizes[0]}" if len(sizes) == 1 else f"N = {sizes[0]} to {sizes[-1]}"


def interval_text(interval: Sequence[float]) -> str:
    """An interval of shares in per cent. Example: "[41.9, 53.6]"."""
    return f"[{percent(interval[0])}, {percent(interval[1])}]"


def listed(names: Sequence[str]) -> str:
    """Example: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
