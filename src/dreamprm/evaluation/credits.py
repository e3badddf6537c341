"""Graded outcomes: the credit in [0, 1] that a judge gave a candidate (MM-Vet), beside its `correct`."""

from __future__ import annotations

from pathlib import Path

from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import stream_json


def read_credits(path: str | Path) -> dict[str, tuple[float | None, ...]]:
    """By record id the `credit` of each candidate, None where it has none; only records with a credit.

    Candidate records carry right or wrong; benchmarks that grade write a credit beside it
    (`dreamprm.benchmarks.write_candidates`), and their accuracy is its mean. Records that the reader leaves
    out are passed over here too.

    Raises:
        UserError, DataError: no such file; a credit that is no number in [0, 1].
    """
    path = Path(path)
    found: dict[str, tuple[float | None, ...]] = {}
    for row in stream_json(path):
        if row.problem is not None or not isinstance(row.value, dict):
            continue
        candidates = row.value.get("candidates")
        if not isinstance(candidates, list) or not any(
                isinstance(one, dict) and one.get("credit") is not None for one in candidates):
            continue
        fields = Fields(row.value, path, line=row.line)
        found[fields.identifier()] = tuple(
            one.probability("credit") if "credit" in one else None for one in fields.objects("candidates"))
    return found
