"""Numbers from result files as text, and Markdown tables of them; what is not a number is shown as n/a."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MISSING = "n/a"
MEAN = "mean"


def number(value: object) -> float:
    """`value` as a float, NaN for anything that is not a number (a JSON null, a text, a truth value)."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")


def decimal(value: object, digits: int = 3) -> str:
    """A number with fixed decimals; "n/a" if it is absent, not a number or not finite."""
    as_float = number(value)
    return f"{as_float:.{digits}f}" if math.isfinite(as_float) else MISSING


def percent(value: object) -> str:
    """A share in [0, 1] as per cent with one decimal, without the sign. Example: 0.9204 -> "92.0"."""
    return decimal(100.0 * number(value), 1)


def signed_points(value: object) -> str:
    """A difference of shares in percentage points, with its sign. Example: 0.081 -> "+8.1"."""
    as_float = 100.0 * number(value)
    return f"{as_float:+.1f}" if math.isfinite(as_float) else MISSING


def percent_interval(value: float, interval: Sequence[float]) -> str:
    """A share and its interval in per cent. Example: (0.5, [0.419, 0.536]) -> "50.0 [41.9, 53.6]"."""
    return f"{percent(value)} [{percent(interval[0])}, {percent(interval[1])}]"


def level_text(level: float) -> str:
    """A level in per cent. Example: 0.95 -> "95 %"."""
    return f"{100 * level:g} %"


def p_text(value: float) -> str:
    """A p value: three decimals, below 0.001 one digit and the power of ten."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value > 0 else "0"


def suite_names(summary: Mapping[str, Any]) -> list[str]:
    """Suites of the accuracy tables in the order of the summary, "mean" last."""
    rows = (summary.get("best_of_n") or {}).values()
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [name for name in names if name != MEAN] + [name for name in names if name == MEAN]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table in Markdown; a vertical bar within a cell is escaped."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def mean_members(result: Mapping[str, Any]) -> list[str]:
    """The suites that "mean" covers in an evaluation.json (all, if it does not say)."""
    return list(result.get("mean_over") or result["suites"])
