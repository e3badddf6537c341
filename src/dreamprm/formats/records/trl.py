"""TRL's stepwise supervision: a prompt, its completions (the steps), and a boolean for each completion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.image_folder import images_of
from dreamprm.formats.records.step_format import StepReader, StepWriter
from dreamprm.formats.table_files import read_any


@dataclass(frozen=True)
class TRL(StepReader):
    """A file of TRL's stepwise-supervision type: `prompt`, `completions`, `labels`.

    JSON Lines, a JSON array, parquet, arrow, or a folder of parquet files as published on the hub. A label is
    true or false; numbers in [0, 1] are also accepted, since some files of this type contain them. Image
    paths are taken as written from the optional column `images` or `image`.
    Source: "Dataset formats and types" of TRL's documentation, type "stepwise supervision" (standard format;
    the type has no conversational one); `trl-lib/math_shepherd` is an example.
    """

    help = "TRL stepwise supervision: prompt, completions, boolean labels, as step records"
    signature = (("prompt", "completions", "labels"),)

    split: str | None = setting(None, "which split of a folder with several splits")

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table, or of a JSON file with any ending."""
        return read_any(path, split=self.split)

    def record(self, row: Fields) -> StepRecord:
        """The record of one row."""
        steps = row.texts("completions")
        if not steps:
            raise row.error("completions", "at least one step")
        return self.step_record(
            row,
            question=row.text("prompt"),
            images=images_of(row, "images" if "images" in row else "image"),
            steps=steps,
            labels=_labels(row, len(steps)),
        )


@dataclass(frozen=True)
class TRLWriter(StepWriter):
    """Writes JSON Lines that `datasets.load_dataset("json", data_files=...)` can load.

    Rollout counts are not kept. `id` and `domain` are added, and `images` if there are any.
    """

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        row: dict[str, Any] = {
            "id": record.id,
            "domain": record.domain,
            "prompt": record.question,
            "completions": list(record.steps),
            "labels": list(self.right(record)),
        }
        return row | {"images": list(record.images)} if record.images else row


def _labels(row: Fields, steps: int) -> tuple[float | None, ...]:
    allowed = f"a list of {steps} values true or false, one per completion"
    labels = row.require("labels", allowed)
    if not isinstance(labels, list):
        raise row.error("labels", allowed)
    if len(labels) != steps:
        raise row.error("labels", allowed, f"{len(labels)} labels")
    for index, label in enumerate(labels):
        if not isinstance(label, bool | int | float) or not 0 <= label <= 1:
            raise row.error(f"labels[{index}]", "true or false, or a number in [0, 1]", label)
    return tuple(float(label) for label in labels)
