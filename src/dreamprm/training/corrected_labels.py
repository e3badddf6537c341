"""What learned corrections made of the labels: the step records with both, and how much was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.data.records import to_json
from dreamprm.models.weights import LabelCorrections
from dreamprm.training.assembly import Run

MOST = 20
"""How many of the most corrected labels summary.json lists."""
RIGHT_ABOVE = 0.5
"""A label crosses it from a step that is more likely wrong to one that is more likely right, and back."""

_CHUNK = 1000  # records read at a time


@dataclass(frozen=True)
class CorrectedLabels:
    """The labels of a run's training table, and what alpha has added to them.

    Attributes:
        given: `(S,)`, the labels of all steps, NaN where there is none.
        rows: `(S,)`, the row number of each step's CoT.
        changes: `(S,)`, what was added; NaN where nothing could be.
    """

    given: NDArray[np.float64]
    rows: NDArray[np.int64]
    changes: NDArray[np.float64]

    @classmethod
    def of(cls, run: Run) -> CorrectedLabels | None:
        """Those of a run; None if it corrects no labels."""
        if not isinstance(run.weights, LabelCorrections):
            return None
        given, rows = run.records.labels()
        return cls(given, rows, run.weights.corrected(run.state.alpha))

    @property
    def corrected(self) -> NDArray[np.float64]:
        """`(S,)`, the labels as they are now, in [0, 1]."""
        return np.clip(self.given + np.nan_to_num(self.changes), 0.0, 1.0)

    def records(self, run: Run) -> Iterator[dict[str, Any]]:
        """Every step record with its corrected labels, in our own form; `given_labels` are those it had.

        The CoT with the most corrected label comes first. A corrected label is not made of rollouts, so that
        it has no number of them.
        """
        corrected, sizes = self.corrected, np.abs(np.nan_to_num(self.changes))
        largest = np.zeros(len(run.records))
        np.maximum.at(largest, self.rows, sizes)
        firsts = np.searchsorted(self.rows, np.arange(len(run.records)))
        order = np.argsort(-largest, kind="stable")
        for start in range(0, len(order), _CHUNK):
            numbers = order[start : start + _CHUNK].tolist()
            for number, record in zip(numbers, run.records.get(numbers), strict=True):
                steps = slice(firsts[number], firsts[number] + len(record.steps))
                moved = sizes[steps] > 0
                row = to_json(record)
                row["labels"] = [
                    now if is_moved else label
                    for label, now, is_moved in zip(
                        record.labels, corrected[steps].tolist(), moved, strict=True
                    )
                ]
                row["rollouts"] = [
                    None if is_moved else count
                    for count, is_moved in zip(record.rollouts, moved, strict=True)
                ]
                yield row | {"given_labels": list(record.labels)}

    def facts(self, run: Run) -> dict[str, Any]:
        """The entry of summary.json: counts of all and by domain, and the labels that were changed most."""
        of_row = np.zeros(len(run.records), dtype=np.int64)
        for number, members in enumerate(run.records.domains.values()):
            of_row[members] = number
        domains = of_row[self.rows]
        return {
            **self._counts(np.ones(self.rows.size, dtype=bool)),
            "domains": {
                name: self._counts(domains == number) for number, name in enumerate(run.records.domains)
            },
            "most": self._most(run),
        }

    def _counts(self, among: NDArray[np.bool_]) -> dict[str, Any]:
        could = among & ~np.isnan(self.changes)
        before, now = self.given[could] > RIGHT_ABOVE, self.corrected[could] > RIGHT_ABOVE
        sizes = np.abs(self.changes[could])
        return {
            "labels": int(could.sum()),
            "changed": int((sizes > 0).sum()),
            "mean_change": float(sizes.mean()) if sizes.size else 0.0,
            "to_right": int((~before & now).sum()),
            "to_wrong": int((before & ~now).sum()),
        }

    def _most(self, run: Run) -> list[dict[str, Any]]:
        sizes = np.abs(np.nan_to_num(self.changes))
        found = [step for step in np.argsort(-sizes, kind="stable")[:MOST].tolist() if sizes[step] > 0]
        corrected, most = self.corrected, []
        for step in found:
            row = int(self.rows[step])
            place = step - int(np.searchsorted(self.rows, row))
            record = run.records[row]
            most.append(
                {
                    "id": record.id,
                    "domain": record.domain,
                    "step": place + 1,
                    "text": record.steps[place],
                    "given": float(self.given[step]),
                    "corrected": float(corrected[step]),
                }
            )
        return most
