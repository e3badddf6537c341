"""Rows of a file to score: what is scored in each, and the row with its scores added."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import UserError
from dreamprm.data.fields import Fields, ImagePolicy, MissingImage
from dreamprm.data.json_stream import stream_json
from dreamprm.data.read_report import ReadReport, Tolerance
from dreamprm.data.readers import (
    candidate_record,
    is_nested_row,
    parsed_records,
    read_step_records,
    step_record,
)
from dreamprm.data.records import CandidateRecord, StepRecord, to_json
from dreamprm.data.step_scores import read_scores, scores_to_json
from dreamprm.files.content import FileDigests, content_key, image_contents
from dreamprm.models.aggregation import aggregates_of

Kind = Literal["candidate", "step"]
Stepless = Literal["error", "skip", "whole"]
LogOdds = Sequence[list[float] | None]

DECIMALS = 6
"""Decimals of the written numbers: finer than float32 precision."""

_IMAGE_FIELDS = ("image", "images", "image_path")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file.

    Attributes:
        given: the row as it is in the file; empty if several rows make up the record.
        record: the record that our reader makes of it.
        chains: the steps of each candidate (or of the step record), None if it is not scored.
        where: the row's location, for messages.
    """

    given: Mapping[str, Any]
    record: CandidateRecord | StepRecord
    chains: tuple[tuple[str, ...] | None, ...]
    where: str

    def keys(self, digests: FileDigests, *, text_only: bool, cut_off: bool = False) -> list[str]:
        """The keys under which scores of this row may be stored, the last one for new scores.

        A key covers everything that the scores depend on except the scorer: question, what the images hold,
        and steps; not where the row or an image is. With `text_only`, an image that turns out to be broken
        is left out, so such scores have a key of their own; those of a row with all its images serve too.
        The same holds with `cut_off`, where an image that is cut off is used.
        """
        images = image_contents(self.record.images, digests)
        content = {"question": self.record.question, "images": images, "chains": self.chains}
        whole = content_key(content)
        used = {"broken_images": "left out"} if text_only else {}
        used |= {"cut_off_images": "used"} if cut_off else {}
        return [whole, content_key(content | used)] if used and images else [whole]

    def scored(self, name: str, log_odds: LogOdds, *, folder: Path) -> dict[str, Any]:
        """The row with the scores added, as written to a file in `folder`.

        Fields unknown to our reader are kept. Image paths below the folder are written relative to it, others
        as absolute paths.

        Args:
            name: the scorer's name.
            log_odds: of each chain, None if it has none.
        """
        root = os.path.join(os.path.abspath(folder), "")
        own = to_json(self.record)
        for key in ("image", "images"):
            if isinstance(own.get(key), str):
                own[key] = own[key].removeprefix(root)
            elif own.get(key):
                own[key] = [path.removeprefix(root) for path in own[key]]
        kept = {key: value for key, value in self.given.items() if key not in _IMAGE_FIELDS}
        fields = added(name, log_odds)
        if isinstance(self.record, StepRecord):
            return kept | own | _with(self.given, fields[0])
        given = self.given["candidates"]
        # Existing numbers stay as they are written; only the new scores are ours.
        own["candidates"] = [
            before
            | {key: value for key, value in candidate.items() if key not in ("scores", "credit")}
            | _with(before, new)
            for before, candidate, new in zip(given, own["candidates"], fields, strict=True)
        ]
        return kept | own


@dataclass(frozen=True)
class Source:
    """A file of rows and how it is read.

    Attributes:
        path: a JSON array or JSON Lines, of any size.
        kind: the kind of its records.
        name: the scorer's name; the rows must not contain its scores yet, unless `replace`.
        stepless: what to do with a candidate without steps; a step record without steps is left out with
            `skip`.
        image_root, missing_image, allow_no_image, allow_outside, tolerance: as for the readers.
    """

    path: Path
    kind: Kind
    name: str
    replace: bool = False
    stepless: Stepless = "error"
    image_root: str | None = None
    missing_image: MissingImage = "error"
    allow_no_image: bool = False
    allow_outside: bool = False
    tolerance: Tolerance = field(default_factory=Tolerance)

    def rows(self, report: ReadReport) -> Iterator[Row]:
        """The rows in the file's order; `report` is filled in.

        Raises:
            UserError, DataError: as raised by the readers; a candidate without steps; existing scores of this
                name.
        """
        # A step record has no text apart from its steps that could be scored as a whole.
        stepless: Literal["error", "skip"] = "skip" if self.stepless == "skip" else "error"
        if self.kind == "step" and self._is_nested():
            for record in read_step_records(
                self.path,
                image_root=self.image_root,
                missing_image=self.missing_image,
                allow_no_image=self.allow_no_image,
                allow_outside=self.allow_outside,
                stepless=stepless,
                on_error=self.tolerance.on_error,
                max_bad_fraction=self.tolerance.max_bad_fraction,
                report=report,
            ):
                yield Row({}, record, (record.steps,), f"{self.path}: record {record.id}")
            return
        images = ImagePolicy.of_reader(
            self.image_root, self.missing_image, self.allow_no_image, allow_outside=self.allow_outside
        )

        def parse(fields: Fields) -> Row | None:
            where = fields.where
            if self.kind == "step":
                record = step_record(fields, images, report, stepless=stepless)
                if record is None:
                    return None
                read_scores(fields, len(record.steps))
                self._require_new(fields)
                return Row(fields.values, record, (record.steps,), where)
            candidates = candidate_record(fields, images, report)
            members = fields.objects("candidates")
            for member in members:
                self._require_new(member)
            chains = tuple(
                self._chain(candidate.steps, candidate.text, member)
                for candidate, member in zip(candidates.candidates, members, strict=True)
            )
            return Row(fields.values, candidates, chains, where)

        yield from parsed_records(self.path, parse, report, self.tolerance)

    def _is_nested(self) -> bool:
        # The first that can be read: a bad row may be left out.
        first = next((row for row in stream_json(self.path) if isinstance(row.value, dict)), None)
        return first is not None and is_nested_row(Fields(first.value, self.path, line=first.line))

    def _chain(self, steps: tuple[str, ...], text: str, fields: Fields) -> tuple[str, ...] | None:
        if steps:
            return steps
        if self.stepless == "error":
            raise fields.error(
                "steps",
                "at least one step, or a text with 'Step k:' headings (stepless=skip leaves such "
                "candidates without a score, stepless=whole treats the text as one step)",
                text,
            )
        return (text,) if self.stepless == "whole" else None

    def _require_new(self, fields: Fields) -> None:
        if not self.replace and self.name in (fields.values.get("scores") or {}):
            # Not a DataError: on_error=skip is for bad records; this one is good but already scored.
            raise UserError(
                f"{fields.where}: field '{fields.prefix}scores' already has scores of "
                f"{self.name!r}; give this scorer another name (name=...), or set replace=true"
            )


def added(name: str, log_odds: LogOdds) -> list[dict[str, Any]]:
    """The `scores` fields of one row's chains: log-odds, probabilities, and every aggregate as log-odds."""
    known = [values for values in log_odds if values]
    aggregates = (
        {aggregation: round(value, DECIMALS) for aggregation, value in found.items()}
        for found in aggregates_of(known)
    )
    return [
        scores_to_json({name: tuple(values)}, {name: next(aggregates)}) if values else {}
        for values in log_odds
    ]


def rounded(log_odds: Sequence[float], where: str) -> list[float]:
    """The numbers rounded as they are written.

    Raises:
        UserError: a number is not finite.
    """
    values = [round(value, DECIMALS) for value in log_odds]
    if not all(abs(value) < float("inf") for value in values):
        raise UserError(
            f"{where}: the model gives log-odds {values}, but scores must be finite: check "
            "that its training did not diverge, or set precision=fp32"
        )
    return values


def _with(given: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    scores = {**(given.get("scores") or {}), **new}
    return {"scores": scores} if scores else {}
