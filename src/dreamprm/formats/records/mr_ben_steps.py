"""What a step of an MR-Ben solution is, and which one the number (or the line) of the first error means.

The published lists hold *lines*, and `Model_Solution_First_Error_Step` is the number in a line's "Step k"
heading, which is not always the line's place in the list: in 502 of the 2,572 wrong solutions of the five
subjects with headings it is not, since steps have several lines, or blank ones between them. That the heading
is meant shows in the annotators' own step ("Model_Solution_Rectified_First_Error_Step"): among the 807 wrong
solutions whose headings do not count the lines, it carries the same number in 801. So:

- Where every line "Step k" is the k-th of the list, or no line has a heading, each line is a step and the
  number is its place (a last line "Solution: ..." counts as one).
- Else a step goes from its heading to the next one, a line "Solution: ..." is a step of its own, and the
  number is the heading's. Where several headings have that number (choices examined one by one, each from
  "Step 1" on), the error may be in any of them.
- A program's steps are its lines. The error is given as the text of a line, which may stand in several
  places.
- Where nothing fits (no such number, no such line, a blank), the error may be in any step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_HEADING = re.compile(r"\s*step\s+(\d+)", re.IGNORECASE)
_SOLUTION = re.compile(r"\s*solution\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class ErrorPlaces:
    """Where the first error can be, by the name that the file gives it."""

    steps: int
    by_name: Mapping[str, tuple[int, ...]]

    def of(self, name: str) -> tuple[int, ...]:
        """The indices of the steps that `name` may mean; all of them where it means none."""
        return self.by_name.get(name) or tuple(range(self.steps))


def numbered_steps(lines: Sequence[str]) -> tuple[tuple[str, ...], ErrorPlaces]:
    """The steps of a solution given as lines, and where an error of a given number is.

    Returns:
        The steps, in which every line is kept (blank ones at the end of a step excepted), and the places of
        the numbers "1", "2", ...
    """
    headings = [_heading(line) for line in lines]
    if all(heading is None or heading == place for place, heading in enumerate(headings, start=1)):
        return tuple(lines), ErrorPlaces(len(lines), {str(k + 1): (k,) for k in range(len(lines))})
    starts = [
        index for index, line in enumerate(lines) if headings[index] is not None or _SOLUTION.match(line)
    ]
    numbers = [headings[start] for start in starts]
    if starts[0] > 0 and numbers[0] == 1:
        starts[0] = 0  # text before "Step 1" belongs to it
    elif starts[0] > 0:
        # One solution begins "tep 1:", and its second heading is "Step 2".
        starts.insert(0, 0)
        numbers.insert(0, 1 if numbers[0] == 2 else None)
    bounds = zip(starts, [*starts[1:], len(lines)], strict=True)
    steps = tuple("\n".join(lines[begin:end]).strip() for begin, end in bounds)
    places: dict[str, tuple[int, ...]] = {}
    for step, number in enumerate(numbers):
        if number is not None:
            places[str(number)] = (*places.get(str(number), ()), step)
    return steps, ErrorPlaces(len(steps), places)


def code_steps(lines: Sequence[str]) -> tuple[tuple[str, ...], ErrorPlaces]:
    """The lines of a program as steps, and where an error in a given line is."""
    places: dict[str, tuple[int, ...]] = {}
    for index, line in enumerate(lines):
        if line.strip():
            places[line] = (*places.get(line, ()), index)
    return tuple(lines), ErrorPlaces(len(lines), places)


def _heading(line: str) -> int | None:
    match = _HEADING.match(line)
    return int(match[1]) if match else None
