"""The plain-text table printed at the end of training."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from dreamprm.evaluation.number_text import decimal, suite_names
from dreamprm.reporting import run_figures
from dreamprm.reporting.run_figures import equally_weighted, trained
from dreamprm.reporting.tables import Cell

WIDTH = 110
_BAR = 30
_NAME = 17  # columns of a row's name
_CELL = 12  # columns of a suite


def final_table(summary: Mapping[str, Any]) -> str:
    """Domains with planted quality and learned weight, accuracy of each selector on each suite, targets.

    Args: summary, the contents of summary.json; parts whose keys are absent are left out.
    Returns: lines of at most 110 columns, joined by newlines; plain ASCII if names and notes are.
    """
    parts = [
        _facts(summary),
        _domains(summary),
        _accuracies(summary),
        _differences(summary),
        _targets(summary),
        _notes(summary),
    ]
    return "\n\n".join(part for part in parts if part)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _wrapped(text: str, mark: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  " + mark, subsequent_indent="  " + " " * len(mark))


def _facts(summary: Mapping[str, Any]) -> str:
    lines = [f"Run {_shortened(str(summary.get('name', '')), WIDTH - 4)}".rstrip()]
    lines += [f"  {name}: {value}" for name, value in run_figures.fact_rows(summary)]
    return "\n".join(lines)


def _domains(summary: Mapping[str, Any]) -> str:
    rows = run_figures.domain_rows(summary)
    if not rows:
        return ""
    planted = any(math.isfinite(row.quality) for row in rows)
    width = min(42, max(6, *(len(row.name) for row in rows)))
    kind = trained(summary)
    if equally_weighted(summary):
        return f"Domains\n  all {len(rows)} have the same weight ({kind.title})"
    column = max(14, len(kind.weight))
    top = max((row.weight for row in rows if math.isfinite(row.weight)), default=0.0)
    lines = [
        f"  {'domain':<{width}}" + ("  planted quality" if planted else "") + f"  {kind.weight:>{column}}"
    ]
    for row in rows:
        length = round(_BAR * row.weight / top) if math.isfinite(row.weight) and top > 0 else 0
        quality = f"  {decimal(row.quality, 2):>15}" if planted else ""
        bar = "#" * max(0, length)
        weight = decimal(row.weight, 2)
        lines.append(f"  {_shortened(row.name, width):<{width}}{quality}  {weight:>{column}}  {bar}".rstrip())
    return "\n".join([f"Domains by {kind.weight}", *lines])


def _accuracies(summary: Mapping[str, Any]) -> str:
    rows = run_figures.accuracy_rows(summary)
    if not rows:
        return ""
    title = "Best-of-N accuracy in %, with the 95 % interval over questions below it"
    blocks = _suite_blocks(suite_names(summary), rows)
    return "\n".join([title, *blocks, *_wrapped(run_figures.mean_meaning(summary))])


def _differences(summary: Mapping[str, Any]) -> str:
    rows = run_figures.difference_rows(summary)
    if not rows:
        return ""
    title = "Differences in points, with 95 % intervals over the same questions"
    return "\n".join([title, *_suite_blocks(suite_names(summary), rows)])


def _suite_blocks(suites: Sequence[str], rows: Mapping[str, Sequence[Cell]]) -> list[str]:
    """As many suites side by side as fit; the rest in further blocks below."""
    name_width = min(34, max(_NAME, *(len(name) for name in rows)))
    # An interval must keep a space on its left; two more columns are for the margin.
    longest = max((len(_below(cell)) for row in rows.values() for cell in row), default=0)
    cell_width = max(_CELL, longest + 2)
    fitting = max(1, (WIDTH - 2 - name_width) // cell_width)
    lines = []
    for start in range(0, len(suites), fitting):
        shown = range(start, min(start + fitting, len(suites)))
        heads = "".join(f"{_shortened(suites[k], cell_width - 1):>{cell_width}}" for k in shown)
        lines.append(f"  {'':<{name_width}}{heads}")
        for name, cells in rows.items():
            accuracies = "".join(f"{cells[k].main:>{cell_width}}" for k in shown)
            lines.append(f"  {_shortened(name, name_width):<{name_width}}{accuracies}")
            if any(cells[k].small for k in shown):
                intervals = "".join(f"{_below(cells[k]):>{cell_width}}" for k in shown)
                lines.append(f"  {'':<{name_width}}{intervals}")
    return lines


def _below(cell: Cell) -> str:
    return " ".join(cell.small)


def _targets(summary: Mapping[str, Any]) -> str:
    rows = run_figures.target_rows(summary)
    width = min(60, max((len(row.name) for row in rows), default=0))
    lines = [
        f"  {'met' if row.met else 'MISSED':<6}  {_shortened(row.name, width):<{width}}"
        f"  measured {row.measured:>7}  target {row.target:>7}"
        for row in rows
    ]
    return "\n".join(
        (["Targets"] if lines else []) + lines + textwrap.wrap(run_figures.verdict(summary), WIDTH)
    )


def _notes(summary: Mapping[str, Any]) -> str:
    notes = summary.get("notes") or []
    lines = [line for note in notes for line in _wrapped(str(note), "- ")]
    return "\n".join(["Notes", *lines]) if lines else ""
