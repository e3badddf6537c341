"""The benchmark's results as tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from dreamprm.evaluation.plots import style
from experiments.benchmarks import plots
from experiments.benchmarks.cases import CASES, PLAIN, VANILLA

Points = list[dict[str, Any]]


def write(results: dict[str, Any], out: Path) -> list[Path]:
    """Write OUT.md and the plots OUT_*.png next to the results file; returns their paths."""
    points = sorted(results["points"].values(), key=lambda point: (point["parameters"], point["steps"]))
    if not points:
        return []
    figures = {
        "time": plots.over_steps(points, time_ratio, what="time"),
        "memory": plots.over_steps(points, memory_ratio, what="extra peak memory"),
        "agreement": plots.cost_against_agreement(points),
    }
    paths = [out.with_suffix(".md")]
    images = []
    for name, figure in figures.items():
        if figure is not None:
            paths.append(out.with_name(f"{out.stem}_{name}.png"))
            paths[-1].write_bytes(style.png(figure))
            images.append(f"![{name}]({paths[-1].name})")
    paths[0].write_text("\n\n".join([_head(points), *images, *_tables(points)]) + "\n")
    return paths


def beside(here: dict[str, Any], committed: dict[str, Any], chosen: Iterable[str]) -> str:
    """The ratios to plain training of the chosen points, here and as committed, as text."""
    lines = []
    for name in chosen:
        own, other = (results["points"].get(name) for results in (here, committed))
        if own is None:
            continue
        lines += [
            f"{name}: time and extra memory / plain training, here | committed"
            + (f" ({other['conditions']['machine']}, {other['conditions']['date']})" if other else " (none)")
        ]
        for case in own["rows"]:
            figures = [
                f"{spread(time_ratio(point, case)):>20} {spread(memory_ratio(point, case)):>6}"
                if point and case in point["rows"]
                else f"{'-':>20} {'-':>6}"
                for point in (own, other)
            ]
            lines.append(f"  {case:30} {' | '.join(figures)}")
    return "\n".join(lines)


def time_ratio(point: dict[str, Any], case: str, *, to: str = PLAIN) -> list[float] | None:
    """Seconds as a multiple of plain training's (row `to`'s), for each repetition; None if not measured."""
    own, plain = (point["rows"].get(name, {}).get("seconds") for name in (case, to))
    return [a / b for a, b in zip(own, plain, strict=True)] if own and plain else None


def memory_ratio(point: dict[str, Any], case: str) -> list[float] | None:
    """Extra peak memory as a multiple of plain training's; None if not measured."""
    own, plain = (point["rows"].get(name, {}).get("extra_mib") for name in (case, PLAIN))
    return [own / plain] if own and plain else None


def short(value: Any) -> str:
    """A number, or the median of a list of them, with at most four digits; other values unchanged."""
    if isinstance(value, list):
        return short(median(value)) if value else "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def spread(values: list[float] | None) -> str:
    """median (least-most)."""
    if not values:
        return "-"
    middle = f"{median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f}-{max(values):.2f})"


def _head(points: Points) -> str:
    by_conditions: dict[str, list[str]] = {}
    for point in points:
        told = point["conditions"]
        versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
        line = (
            f"{told['date']}; {told['machine']}; {told['threads']} thread(s); Python {told['python']}, "
            f"{versions}; {told['repetitions']} repetitions, {told.get('clock', 'seconds')}"
            + (f", load average {told['load']} of all programs" if "load" in told else "")
            + "; "
            f"`{told['command']}`"
        )
        by_conditions.setdefault(line, []).append(f"{point['size']} T={point['steps']} {point['kind']}")
    lines = [
        "# Windows: time, memory and agreement of every estimator",
        "",
        "Random Qwen2-VL PRMs in float32, vision tower frozen, batches of 4 x 128 tokens, AdamW warm; "
        "`single`: one domain per batch, `mixed`: four. Ratios are to plain training of the same T inner "
        "and one outer forward and backward passes with fused attention; `vanilla` is the T steps alone. "
        "Medians (least-most) over repetitions, ratios taken within one. Extra memory is the peak resident "
        "memory beyond model, params and moments, with each row in a process of its own. Cosine and "
        "relative error are against the exact gradient in float64. How it is measured: "
        "experiments/benchmarks/.",
        "",
    ]
    return "\n".join(lines + [f"- {', '.join(names)}: {line}" for line, names in by_conditions.items()])


def _tables(points: Points) -> list[str]:
    sections = []
    for point in points:
        vanilla = VANILLA in point["rows"]
        lrs = sorted({lr for row in point["rows"].values() for lr in row.get("agreement", {})}, key=float)
        header = [
            "",
            "time / plain",
            *(["time / vanilla"] if vanilla else []),
            "seconds",
            "extra MiB",
            "memory / plain",
            *(f"{what} at lr {lr}" for lr in lrs for what in ("cosine", "relative error")),
            "notes",
        ]
        rows = [_row(point, case, lrs, vanilla=vanilla) for case in CASES if case in point["rows"]]
        sections.append(
            f"## {point['size']} ({point['parameters']:,} parameters), T = {point['steps']}, "
            f"{point['kind']}\n\n" + _markdown(header, rows)
        )
    steps = sorted({point["steps"] for point in points})
    if len(steps) > 1:
        for size, kind in dict.fromkeys((point["size"], point["kind"]) for point in points):
            here = [point for point in points if (point["size"], point["kind"]) == (size, kind)]
            for what, figure in (("Time", time_ratio), ("Extra memory", memory_ratio)):
                sections.append(f"## {what} / plain over T, {size} {kind}\n\n" + _over_steps(here, figure))
    return sections


def _row(point: dict[str, Any], case: str, lrs: Iterable[str], *, vanilla: bool) -> list[str]:
    row = point["rows"][case]
    cells = [
        case,
        spread(time_ratio(point, case)),
        *([spread(time_ratio(point, case, to=VANILLA))] if vanilla else []),
        spread(row.get("seconds")),
        f"{row['extra_mib']:.0f}" if "extra_mib" in row else "-",
        spread(memory_ratio(point, case)),
    ]
    notes = [row[key] for key in ("error", "note") if key in row]
    for lr in lrs:
        agreed = row.get("agreement", {}).get(lr, {})
        cosine, error = agreed.get("cosine"), agreed.get("relative_error")
        cells += ["-" if cosine is None else f"{cosine:.6f}", "-" if error is None else f"{error:.1e}"]
        if "error" in agreed:
            notes.append(f"at lr {lr}: {agreed['error']}")
    return [*cells, "; ".join(notes)]


def _over_steps(points: Points, figure: Callable[[dict[str, Any], str], list[float] | None]) -> str:
    rows = [
        [case, *(spread(figure(point, case)) for point in points)]
        for case in CASES
        if case != PLAIN and any(figure(point, case) for point in points)
    ]
    return _markdown(["", *(f"T = {point['steps']}" for point in points)], rows)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in cells)
