"""A run's folder: its contents, and the append-only logs that survive an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dreamprm.files.append_only import append_line
from dreamprm.files.atomic import write_atomically


class RunFolder:
    """Paths and logs of one run.

    config.yaml metrics.jsonl domain_weights.jsonl instance_weights.jsonl summary.json report.html
    checkpoints/ model/ scores/ plots/
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.scores = self.path / "scores"
        self.summary = self.path / "summary.json"
        self._metrics = self.path / "metrics.jsonl"
        self._weights = self.path / "domain_weights.jsonl"
        self._instances = self.path / "instance_weights.jsonl"

    def create(self) -> None:
        """Make the folder if it is missing."""
        self.path.mkdir(parents=True, exist_ok=True)

    def log_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; it must hold `step`."""
        append_line(self._metrics, row)

    def log_weights(self, step: int, weights: Mapping[str, float]) -> None:
        """Append one line to domain_weights.jsonl."""
        append_line(self._weights, {"step": step, "weights": dict(weights)})

    def write_instance_weights(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write instance_weights.jsonl, with one line per CoT, whole or not at all."""
        write_atomically(self._instances, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl; none if there is no file yet."""
        if self._metrics.exists():
            with self._metrics.open(encoding="utf-8") as file:
                yield from map(json.loads, file)

    def rewind(self, step: int) -> None:
        """Drop what was logged after `step`: a resumed run will write those lines again."""
        for path in (self._metrics, self._weights):
            if path.exists():
                lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
                write_atomically(path, "".join(line for line in lines if _logged_step(line) <= step))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json whole or not at all."""
        write_atomically(self.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def _logged_step(line: str) -> float:
    # A line cut short by a crash counts as later than everything, so it is dropped.
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return float("inf")
