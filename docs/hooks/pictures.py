"""Turns a fenced block of the kind `house` into a drawing (SVG, inline, no script).

The block reads as text where nobody draws it. Lines with arrows are the flow of files,

    questions --sample--> chains of thought
    --label--> step records

and the other paragraphs are floors, top to bottom: one line per room, its name and what it does; the rooms of
one paragraph stand side by side.
"""

import re
import textwrap
from html import escape

WIDTH = 980
FLOW = 200  # the width of the left column, the flow
GAP = 8
FENCE = re.compile(r"^```house\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown, page, config, files):
    """Replace the page's `house` blocks by their drawings."""
    return FENCE.sub(lambda fence: draw(fence[1]), markdown)


def parse(text: str) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """The flow as a list of files and commands in turn, and the floors of (room, what it does)."""
    flow = re.split(
        r"\s*--(.+?)-->\s*", " ".join(line.strip() for line in text.splitlines() if "-->" in line)
    )
    floors = [
        [(room, what.strip()) for room, _, what in (line.strip().partition(" ") for line in lines)]
        for paragraph in re.split(r"\n\s*\n", text.strip("\n"))
        if (lines := [line for line in paragraph.splitlines() if line.strip() and "-->" not in line])
    ]
    return [part for part in flow if part], floors


def draw(text: str) -> str:
    """The drawing, one line of HTML: Markdown leaves it as it is."""
    flow, floors = parse(text)
    stages = {room for floor in floors if len(floor) > 1 for room, _ in floor}
    shapes, height = [], GAP
    left, width = FLOW + 30, WIDTH - FLOW - 30
    for floor in floors:
        each = (width - GAP * (len(floor) - 1)) / len(floor)
        texts = [
            textwrap.wrap(what, int((each - 14) / 6.2)) if len(floor) > 1 else [what] for _, what in floor
        ]
        tall = 34 if len(floor) == 1 else 36 + 15 * max(len(lines) for lines in texts)
        for number, ((room, _), lines) in enumerate(zip(floor, texts, strict=True)):
            x = left + number * (each + GAP)
            kind = "stage" if room in stages else "room"
            shapes.append(box(x, height, each, tall, kind))
            shapes.append(words(x + 10, height + 21, room, "name"))
            if len(floor) == 1:
                shapes.append(words(x + 110, height + 21, lines[0], "what"))
            else:
                shapes += [words(x + 10, height + 42 + 15 * k, line, "what") for k, line in enumerate(lines)]
        height += tall + GAP
    gap = (height - 2 * GAP - 34) / (len(flow) // 2)
    for number, part in enumerate(flow):
        y = GAP + gap * (number // 2)
        if number % 2 == 0:
            shapes += [box(0, y, FLOW, 34, "file"), words(FLOW / 2, y + 22, part, "middle")]
        else:
            shapes.append(f'<path class="arrow" d="M{FLOW / 2} {y + 36:.1f}V{y + gap - 8:.1f}"/>')
            shapes.append(f'<path class="tip" d="M{FLOW / 2 - 5} {y + gap - 9:.1f}h10l-5 8z"/>')
            shapes.append(words(FLOW / 2 + 12, y + 34 + (gap - 34) / 2 + 4, part, "command"))
    label = "The flow of files, and the rooms of the package from top to bottom"
    return (
        f'<div class="house"><svg viewBox="-2 0 {WIDTH + 4} {height:.0f}" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg></div>"
    )


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle with round corners."""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{15 if kind == "file" else 4}"/>'
    )


def words(x: float, y: float, text: str, kind: str) -> str:
    """A line of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
