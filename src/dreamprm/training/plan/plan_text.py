"""A plan as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from dreamprm.training.plan.longest_batches import LongestRows
from dreamprm.training.plan.plan_lines import MARGIN, Line, Room
from dreamprm.training.plan.settings import PlanConfig, size_text

HEAD = (
    "",
    "way",
    "peak",
    "parameters",
    "moments",
    "copies",
    "activations",
    "put away",
    "work",
    "s/window",
    "h/run",
)
_NOTES = """\
copies: gradients, kept and on their way, and all else of the parameters' shapes.
put away: in CPU memory, or on disk. work: arithmetic, against that of plain training (none)."""
_SECONDS = """\
Seconds are estimates: products, elementwise work and single operations were timed on this machine for a
second, and multiplied by what a window takes of each. A run is its windows, with usual batches."""
_ELSEWHERE = (
    "Seconds are not claimed for a device that is not here; this command says them when it runs there."
)


def plan_text(
    config: PlanConfig,
    room: Room,
    longest: LongestRows,
    lines: Sequence[Line],
    best: Line | None,
    changed: Line | None,
) -> str:
    """The recommended line and why, then the table of all, those that fit first.

    Args:
        best: the recommended one of the lines; None: none fits.
        changed: then the one that does, with the smallest change.
    """
    first = next(line.footprint for line in lines if line.footprint is not None)
    shown = [line for line in (best or changed,) if line is not None]
    shown += sorted(
        (line for line in lines if line not in shown),
        key=lambda line: (not line.fits(room), line.footprint is None),
    )
    plain = next(
        (line.footprint.work.flops for line in lines if line.way.name == "none" and line.footprint), None
    )
    told = [
        f"{first.parameters:,.0f} parameters, of which {first.trained:,.0f} are trained; "
        f"{config.inner_steps} inner steps per window",
        f"the longest batch: {longest.rows} x {longest.length:,} tokens"
        + (f" in one of {config.gpus} processes" if config.gpus > 1 else ""),
        f"memory{' of each process' if config.gpus > 1 else ''}: {size_text(room.memory)}, of which "
        f"{MARGIN:.0%} are left free",
        "",
        _advice(config, room, lines, best, changed),
        "",
        *_table(
            [HEAD, *(_row(line, room, config, plain, marked=line is (best or changed)) for line in shown)]
        ),
        "",
        *_NOTES.splitlines(),
        *(_ELSEWHERE if room.device is None else _SECONDS).splitlines(),
    ]
    return "\n".join(told)


def _advice(
    config: PlanConfig, room: Room, lines: Sequence[Line], best: Line | None, changed: Line | None
) -> str:
    first = lines[0]
    if best is first:
        return (
            f"recommended: {best.way.name}, as it is configured. It fits, and no other line gives its "
            "gradient for less"
        )
    if best is not None:
        why = "does not fit" if not first.fits(room) else "takes more work"
        same = (
            "the same gradient"
            if best.way.gradient == first.way.gradient
            else f"the gradient {best.way.gradient}"
        )
        return (
            f"recommended: {best.way.name}. It fits, and gives {same} for the least work; {first.way.name}, "
            f"as configured, {why}. Write: {' '.join(map(_quoted, best.way.changes))}"
        )
    none_fits = not any(line.fits(room) for line in lines)
    told = "nothing fits" if none_fits else f"no line with the gradient {first.way.gradient} fits"
    if changed is not None:
        return f"{told}. The smallest change that does: {' '.join(map(_quoted, changed.way.changes))}"
    least = min((line.footprint.total for line in lines if line.footprint is not None), default=0)
    return (
        f"{told}: the least is {size_text(least)}, and no change that is known here makes it fit. Take "
        "a device with more memory, train fewer parameters (model.trainable), or a smaller model"
    )


def _quoted(change: str) -> str:
    return f'"{change}"' if set(change) & set("{ *[") else change


def _row(line: Line, room: Room, config: PlanConfig, plain: float | None, *, marked: bool) -> tuple[str, ...]:
    found = line.footprint
    if found is None:
        return ("", line.way.name, line.problem.partition(";")[0], *[""] * 8)
    peak = found.peak
    hours = None if line.seconds is None else line.seconds * config.steps / config.inner_steps / 3600
    return (
        ">" if marked else "" if line.fits(room) else "x",
        line.way.name,
        size_text(found.total),
        *(size_text(size) for size in (peak.parameters, peak.moments, peak.copies, peak.activations)),
        size_text(found.put_away) if found.put_away else "-",
        "-" if not plain else f"{found.work.flops / plain:.2f}",
        "-" if line.seconds is None else f"{line.seconds:.3g}",
        "-" if hours is None else f"{hours:.3g}",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    # A refused line says why across the columns that it has no figures for.
    widths[2] = max((len(row[2]) for row in rows if row[3]), default=4)
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
