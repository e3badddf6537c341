"""Which records of a run were used without their images, or with one that is cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dreamprm.data.read_report import CUT_OFF, LISTED, WITHOUT_IMAGES, ReadReport, image_lines


@dataclass
class ImageNotes:
    """Notes on records by key; a record that is used again and again counts once.

    They are plain values, so that a loader's worker can send them and a checkpoint can hold them.

    Attributes:
        lost: by the record's key, which record it is and which image is missing or broken.
        cut_off: the same for images that are cut off and were used as far as they go.
    """

    lost: dict[str, str] = field(default_factory=dict)
    cut_off: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, name: str, *, lost: str | None, cut_off: str | None) -> None:
        """Note what an image store says about a record's images; nothing if both are None."""
        if lost is not None:
            self.lost[key] = f"{name}: {lost}"
        elif cut_off is not None:
            self.cut_off[key] = f"{name}: {cut_off}"

    def update(self, other: ImageNotes) -> None:
        """Take over the notes of another part of the run."""
        self.lost |= other.lost
        self.cut_off |= other.cut_off

    def to_json(self) -> dict[str, Any]:
        """The notes as JSON values; `ImageNotes(**values)` is its inverse."""
        return asdict(self)


@dataclass(frozen=True)
class ImageSummary:
    """How many records of a set were used without their images, or with one that is cut off.

    Attributes:
        records: the number of records in the set.
        lost, cut_off: how many of them.
        lost_first, cut_off_first: which, up to a hundred.
    """

    records: int
    lost: int = 0
    cut_off: int = 0
    lost_first: tuple[str, ...] = ()
    cut_off_first: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, records: int, reports: Sequence[ReadReport], notes: ImageNotes, *, prefix: str
    ) -> ImageSummary:
        """What reading found (files that do not exist) and what opening them found, added up.

        Args:
            records: the number of records.
            reports: of reading them.
            notes: of the whole run.
            prefix: what the keys of this set's notes start with.
        """
        lost, cut_off = (_of_set(found, prefix) for found in (notes.lost, notes.cut_off))
        return cls(
            records,
            sum(report.text_only for report in reports) + len(lost),
            sum(report.cut_off for report in reports) + len(cut_off),
            tuple(([line for report in reports for line in report.without_images] + lost)[:LISTED]),
            tuple(([line for report in reports for line in report.cut_off_images] + cut_off)[:LISTED]),
        )

    def lines(self) -> list[str]:
        """What to say at the end of a run; nothing if all images were whole."""
        return [
            *image_lines(self.lost, self.records, WITHOUT_IMAGES, self.lost_first),
            *image_lines(self.cut_off, self.records, CUT_OFF, self.cut_off_first),
        ]

    def to_json(self) -> dict[str, Any]:
        """The entry of a summary.json."""
        return {
            "records": self.records,
            "without_images": self.lost,
            "cut_off_images": self.cut_off,
            "first": [*self.lost_first[:10], *self.cut_off_first[:10]],
        }


def _of_set(found: Mapping[str, str], prefix: str) -> list[str]:
    return [text for key, text in found.items() if key.startswith(prefix)]
