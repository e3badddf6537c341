"""ProcessBench (arXiv 2412.06559): solutions of mathematical problems with their first wrong step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import stream_json
from dreamprm.data.records import StepRecord
from dreamprm.errors import DataError

HELP = "ProcessBench: solutions labelled with their first wrong step, as step records"


def convert(path: str | Path, *, domain: str | None = None) -> Iterator[StepRecord]:
    """Read a ProcessBench file: `id`, `problem`, `steps`, `label` (the first wrong step's index, or -1).

    A step's label is 1 before the first wrong step and 0 from it on. These are judgements, not Monte-Carlo
    estimates: 0 means that the solution has gone wrong, not that no completion could mend it. No rollouts,
    no images.

    Args:
        path: a JSON array or a JSON Lines file.
        domain: the domain of its records; None for the file's name without its ending.

    Yields:
        One record a solution, in the file's order.

    Raises:
        UserError: no such file.
        DataError: a bad record, naming file, line, field, value and what is allowed.
    """
    path = Path(path)
    for row in stream_json(path):
        if row.problem is not None:
            raise DataError(f"{path}:{row.line}: {row.problem}")
        fields = Fields(row.value, path, line=row.line)
        steps = fields.texts("steps")
        if not steps:
            raise fields.error("steps", "at least one step")
        allowed = f"the index of the first wrong step, a whole number in 0..{len(steps) - 1}, or -1 for none"
        first_wrong = fields.require("label", allowed)
        if isinstance(first_wrong, bool) or not isinstance(first_wrong, int):
            raise fields.error("label", allowed)
        if not -1 <= first_wrong < len(steps):
            raise fields.error("label", allowed)
        right = len(steps) if first_wrong == -1 else first_wrong
        yield StepRecord(
            question=fields.text("problem"),
            images=(),
            domain=path.stem if domain is None else domain,
            steps=steps,
            labels=(1.0,) * right + (0.0,) * (len(steps) - right),
            rollouts=(None,) * len(steps),
            id=fields.identifier(),
        )
