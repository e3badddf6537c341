"""report.html: everything about a run on one page that needs nothing beside itself."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape

from dreamprm.reporting import tables
from dreamprm.reporting.plots.audit import audit_sentence
from dreamprm.reporting.folders.run import Run

CAPTIONS: Mapping[str, str] = {
    "weights_over_time": "Weight of each domain after every upper step.",
    "final_weights": "Weights at the end of training.",
    "losses": "Losses of the two levels over training.",
    "audit": "The estimator's upper gradient against the exact one of the same window.",
    "accuracy_over_n": "Expected accuracy of each selector with N candidates: exact mean over all subsets.",
    "best_of_n": "Accuracy of each selector on each suite with all candidates.",
}
"""A sentence below each plot, by file name."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --muted: #60646c; --line: #d8dade; --paper: #ffffff;
  --good: #0b5fa5; --bad: #a63603; --bar: #8fb3d3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --muted: #a3a8b0; --line: #3b3f46;
  --paper: #17191c; --good: #7db8ea; --bad: #f0925a; --bar: #3d6d99; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.lead { font-size: 1.05rem; }
.muted, figcaption { color: var(--muted); font-size: .9rem; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .8rem .28rem 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td.text, th.text { text-align: left; white-space: normal; }
td small { display: block; color: var(--muted); font-size: .78rem; }
tr.strong td, tr.strong th { font-weight: 700; } tr.strong small { font-weight: 400; }
.track { display: inline-block; width: 11rem; height: .7rem; }
.track i { display: block; height: 100%; background: var(--bar); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; font-size: .82rem; padding: .8rem; border: 1px solid var(--line);
  border-radius: 4px; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; }
  figure, table { break-inside: avoid; } th, td { padding-right: .5rem; font-size: 9pt; }
  .track { width: 6rem; } pre { white-space: pre-wrap; }
  h2 { break-after: avoid; } }
"""


def render(run: Run, plots: Mapping[str, bytes]) -> str:
    """The page as text; the same run gives the same text.

    Args: run; plots {name: PNG}, shown in their order. All text from the run is escaped.
    """
    sections = [
        _head(run), _facts(run), _targets(run), _domains(run), _accuracies(run), _differences(run),
        _audit(run), _figures(plots), _notes(run), _config(run),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.name)}: report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[bool] = ()) -> str:
    """Rows of cells that are HTML already; the first of each row heads it."""
    marks = [*strong, *([False] * (len(rows) - len(strong)))]
    lines = ["".join(f'<th scope="col">{cell}</th>' for cell in head)]
    body = [
        f'<tr{" class=strong" if mark else ""}><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row, mark in zip(rows, marks)
    ]
    return ('<div class="scroll"><table><thead><tr>' + "".join(lines) + "</tr></thead>\n<tbody>\n"
            + "\n".join(body) + "\n</tbody></table></div>")


def _head(run: Run) -> str:
    verdict = tables.verdict(run.summary)
    mark = "met" if run.summary.get("targets_met") is True else "missed"
    lead = f'<p class="lead {mark}">{escape(verdict)}</p>' if verdict else ""
    return f"<h1>{escape(run.name)}</h1>\n{lead}"


def _facts(run: Run) -> str:
    rows = [[escape(name), escape(value)] for name, value in tables.fact_rows(run.summary)]
    failed = [status for status in run.statuses if status not in ("", "ok")]
    if failed:
        kinds = ", ".join(f"{failed.count(kind)} {kind}" for kind in sorted(set(failed)))
        rows.append(["windows that did not end well", escape(f"{kinds}, of {len(run.statuses)}")])
    return _table(["figure", "value"], rows) if rows else ""


def _targets(run: Run) -> str:
    rows = [
        [escape(row.name), row.measured, row.target,
         '<span class="met">met</span>' if row.met else '<span class="missed">missed</span>']
        for row in tables.target_rows(run.summary)
    ]
    return "<h2>Targets</h2>\n" + _table(["target", "measured", "at least", ""], rows) if rows else ""


def _domains(run: Run) -> str:
    rows = tables.domain_rows(run.summary)
    if not rows:
        return ""
    planted = any(math.isfinite(row.quality) for row in rows)
    top = max((row.weight for row in rows if math.isfinite(row.weight)), default=0.0)
    cells = []
    for row in rows:
        share = max(0.0, 100 * row.weight / top) if math.isfinite(row.weight) and top > 0 else 0.0
        bar = f'<span class="track"><i style="width:{share:.1f}%"></i></span>'
        quality = [tables.decimal(row.quality, 2)] if planted else []
        cells.append([escape(row.name), *quality, tables.decimal(row.weight, 2), bar])
    head = ["domain", *(["planted quality"] if planted else []), "learned weight", ""]
    note = (
        '<p class="muted">Planted quality is the share of a domain\'s labels that are right and informative. '
        "Training never reads it.</p>" if planted else ""
    )
    return "<h2>Domains by learned weight</h2>\n" + _table(head, cells) + note


def _cells(cells: Sequence[tables.AccuracyCell]) -> list[str]:
    return [
        escape(cell.accuracy) + (f"<small>{escape(cell.interval)}</small>" if cell.interval else "")
        for cell in cells
    ]


def _accuracies(run: Run) -> str:
    rows = tables.accuracy_rows(run.summary)
    if not rows:
        return ""
    known = tables.SELECTOR_MEANINGS
    meanings = "; ".join(f"{escape(name)}: {known[name]}" for name in rows if name in known)
    table = _table(
        ["selector", *map(escape, tables.suite_names(run.summary))],
        [[escape(name), *_cells(cells)] for name, cells in rows.items()],
        strong=[name == "dreamprm" for name in rows])
    return (f'<h2>Best-of-N accuracy in %</h2>\n{table}\n<p class="muted">Small: 95 % bootstrap interval '
            f"over questions, which leaves out what another training seed would change. "
            f"{escape(tables.mean_meaning(run.summary))}. {meanings}.</p>")


def _differences(run: Run) -> str:
    rows = tables.difference_rows(run.summary)
    if not rows:
        return ""
    table = _table(["difference", *map(escape, tables.suite_names(run.summary))],
                   [[escape(name), *_cells(cells)] for name, cells in rows.items()])
    return f"<h2>Differences in points, on the same questions</h2>\n{table}"


def _audit(run: Run) -> str:
    sentence = audit_sentence(run.summary)
    return f"<h2>Audit of the upper gradient</h2>\n<p>{escape(sentence)}</p>" if sentence else ""


def _figures(plots: Mapping[str, bytes]) -> str:
    figures = []
    for name, data in plots.items():
        caption = CAPTIONS.get(name, name)
        image = base64.b64encode(data).decode("ascii")
        figures.append(f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{image}">'
                       f"<figcaption>{escape(caption)}</figcaption></figure>")
    return "<h2>Plots</h2>\n" + "\n".join(figures) if figures else ""


def _notes(run: Run) -> str:
    notes = run.summary.get("notes") or []
    items = "".join(f"<li>{escape(str(note))}</li>" for note in notes)
    return f"<h2>Notes</h2>\n<ul>{items}</ul>" if items else ""


def _config(run: Run) -> str:
    return f"<h2>Configuration</h2>\n<pre>{escape(run.config)}</pre>" if run.config else ""
