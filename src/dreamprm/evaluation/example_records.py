"""Examples of questions on which two selectors disagree: their records, and their form in files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.step_scores import Scores, read_scores
from dreamprm.evaluation.thumbnails import THUMBNAIL

FILE, FOLDER = "examples.jsonl", "examples"
"""In the evaluation's folder: one line per example, and the images that they name."""


@dataclass(frozen=True)
class Agreement:
    """How often two selectors of a suite agree, in questions.

    Attributes:
        suite, method, baseline: the suite and the two selectors.
        both_right, method_only, baseline_only, both_wrong: number of questions by which of the two is right.
        unclear: number of questions on which one of the two is neither simply right nor wrong: ties between
            right and wrong candidates, partial credit (`dreamprm.evaluation.drawn_examples.definite_pick`).
    """

    suite: str
    method: str
    baseline: str
    both_right: int
    method_only: int
    baseline_only: int
    both_wrong: int
    unclear: int

    @property
    def questions(self) -> int:
        """The number of questions."""
        return sum(getattr(self, name) for name in _COUNTS)


@dataclass(frozen=True)
class MissingImage:
    """An image of the question that could not be kept: its path, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class PickedCandidate:
    """A candidate that one of the two selectors picks.

    Attributes:
        index: its index among the question's candidates, from 0.
        steps: the full text of its steps.
        final_answer: None if it has none.
        correct: whether it is right.
        generator: the generator that wrote it; None if unknown.
        log_odds: by scorer, those of its steps; a single one if the scorer judges the whole response.
        aggregates: by scorer, the score in log-odds by which the scorer picks.
    """

    index: int
    steps: tuple[str, ...]
    final_answer: str | None
    correct: bool
    generator: str | None
    log_odds: Scores
    aggregates: Mapping[str, float]


@dataclass(frozen=True)
class Example:
    """A question on which one of two selectors is right and the other is wrong.

    Attributes:
        agreement: suite and selectors, and how many such questions there are.
        id, question, options, answer: those of the question; options are empty unless a question file gave
            them.
        images: names of its images in the folder `FOLDER`.
        images_missing: its images that could not be kept.
        picked: the candidates that the method and the baseline pick; exactly one of them is right.
        picks: by selector, the candidates that it names; None if it has no rule that picks one.
        candidates: number of candidates of the question.
    """

    agreement: Agreement
    id: str
    question: str
    options: tuple[str, ...]
    answer: str
    images: tuple[str, ...]
    images_missing: tuple[MissingImage, ...]
    picked: tuple[PickedCandidate, PickedCandidate]
    picks: Mapping[str, tuple[int, ...] | None]
    candidates: int

    @property
    def method_is_right(self) -> bool:
        """Whether the method is the one that is right."""
        return self.picked[0].correct

    def to_json(self) -> dict[str, Any]:
        """The example as one line of the file holds it."""
        pair = (self.agreement.method, self.agreement.baseline)
        return {
            "suite": self.agreement.suite,
            "id": self.id,
            "method": pair[0],
            "baseline": pair[1],
            "right": pair[0 if self.method_is_right else 1],
            "counts": {name: getattr(self.agreement, name) for name in _COUNTS},
            "question": self.question,
            "options": list(self.options),
            "answer": self.answer,
            "images": list(self.images),
            "images_missing": [dataclasses.asdict(image) for image in self.images_missing],
            "picked": [_picked_to_json(candidate) for candidate in self.picked],
            "picks": {
                name: None if indices is None else list(indices) for name, indices in self.picks.items()
            },
            "candidates": self.candidates,
        }


_COUNTS = ("both_right", "method_only", "baseline_only", "both_wrong", "unclear")


def read_examples(path: Path) -> tuple[Example, ...]:
    """The examples of a file, in order.

    Raises: DataError for a line that is not a valid example, with file, line and field.
    """
    with path.open("rb") as stream:
        return tuple(
            _example(_parsed(text, path, line), path, line)
            for line, text in enumerate(stream, start=1)
            if text.strip()
        )


def read_agreements(result: Mapping[str, Any], path: Path) -> tuple[Agreement, ...]:
    """The agreements that evaluation.json lists; empty if no examples were kept, or the file predates them.

    Args: result: the file's content; path: of the file, for messages.
    Raises: DataError for an entry that is not a valid agreement.
    """
    if not result.get("examples"):
        return ()
    return tuple(_agreement(one, one) for one in Fields(dict(result), path, line=1).objects("examples"))


def _parsed(text: bytes, path: Path, line: int) -> Any:
    # Not by `parse_json`: older files may hold half of a surrogate pair, which the report shows.
    try:
        return json.loads(text.decode("utf-8"), parse_int=_short_integer)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{line}: not UTF-8 at byte {error.start} of the line; the file is damaged, evaluate again"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "a number or a nesting that is too long")
        raise DataError(f"{path}:{line}: not JSON ({reason}); the file is damaged, evaluate again") from error


def _short_integer(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError("a whole number that no count or score can be")
    return int(digits)


def _picked_to_json(candidate: PickedCandidate) -> dict[str, Any]:
    return {
        "index": candidate.index,
        "steps": list(candidate.steps),
        "final_answer": candidate.final_answer,
        "correct": candidate.correct,
        "generator": candidate.generator,
        "scores": {
            name: {"log_odds": list(values), "aggregate": candidate.aggregates[name]}
            for name, values in candidate.log_odds.items()
        },
    }


def _example(value: Any, path: Path, line: int) -> Example:
    row = Fields(value, path, line=line)
    counts = Fields(row.require("counts", "an object of counts"), path, line=line, prefix="counts.")
    images = row.texts("images")
    for index, name in enumerate(images):
        # The report embeds the files named here, so only names of our own are allowed.
        if not THUMBNAIL.fullmatch(name):
            raise row.error(f"images[{index}]", "a name such as 0123456789abcdef.png", name)
    first, second = _two(row)
    if first.correct == second.correct:
        raise row.error(
            "picked", "one candidate that is right and one that is wrong", [first.correct, second.correct]
        )
    candidates = _number(row, "candidates")
    for place, one in enumerate((first, second)):
        if one.index >= candidates:
            raise row.error(f"picked[{place}].index", f"less than the {candidates} candidates", one.index)
    return Example(
        agreement=_agreement(row, counts),
        id=row.identifier(),
        question=row.text("question"),
        options=row.texts("options"),
        answer=row.text("answer"),
        images=images,
        images_missing=tuple(
            MissingImage(one.text("path"), one.text("reason")) for one in row.objects("images_missing")
        )
        if row.require("images_missing", "a list")
        else (),
        picked=(first, second),
        picks=_picks(row, candidates),
        candidates=candidates,
    )


def _agreement(names: Fields, counts: Fields) -> Agreement:
    agreement = Agreement(
        names.text("suite"),
        names.text("method"),
        names.text("baseline"),
        **{name: _number(counts, name) for name in _COUNTS},
    )
    if not agreement.questions:
        raise counts.error(_COUNTS[0], "more than 0 questions in one of the counts")
    return agreement


def _two(row: Fields) -> tuple[PickedCandidate, PickedCandidate]:
    found = row.objects("picked")
    if len(found) != 2:
        raise row.error("picked", "the method's and the baseline's candidate", f"{len(found)} objects")
    return _picked(found[0]), _picked(found[1])


def _picked(fields: Fields) -> PickedCandidate:
    steps = fields.texts("steps")
    log_odds = read_scores(fields, len(steps))
    aggregates = {}
    for name in log_odds:
        value = fields.values["scores"][name].get("aggregate")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise fields.error(f"scores.{name}.aggregate", "a finite number", value)
        aggregates[name] = float(value)
    return PickedCandidate(
        _number(fields, "index"),
        steps,
        fields.optional_text("final_answer"),
        fields.truth("correct"),
        fields.optional_text("generator"),
        log_odds,
        aggregates,
    )


def _picks(row: Fields, candidates: int) -> dict[str, tuple[int, ...] | None]:
    allowed = "an object of lists of candidates by selector, null where it picks none"
    value = row.require("picks", allowed)
    if not isinstance(value, dict) or not all(
        one is None
        or (isinstance(one, list) and all(type(index) is int and 0 <= index < candidates for index in one))
        for one in value.values()
    ):
        raise row.error("picks", allowed)
    return {name: None if one is None else tuple(one) for name, one in value.items()}


def _number(fields: Fields, name: str) -> int:
    value = fields.require(name, "a whole number >= 0")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise fields.error(name, "a whole number >= 0")
    return value
