"""Reading step records with `scores` alongside `labels`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import ReadReport, Tolerance
from dreamprm.data.readers import parsed_records
from dreamprm.data.step_scores import Scores, read_scores
from dreamprm.evaluation.steps.scored_steps import ScoredRecord, ScoredSteps


@dataclass
class StepFile:
    """What a file of scored step records holds.

    Attributes:
        steps: its records.
        whole_response: scorers that give one value per response instead of step scores; left out.
        report: counts of what was read and left out.
    """

    steps: ScoredSteps
    whole_response: tuple[str, ...] = ()
    report: ReadReport = field(default_factory=ReadReport)


def read_scored_steps(
    path: str | Path,
    *,
    scorers: Sequence[str] = (),
    label_threshold: float | None = None,
    tolerance: Tolerance | None = None,
) -> StepFile:
    """Read step records with `scores` alongside `labels`, as `dreamprm score` writes them.

    The package's own form of step records (`dreamprm.data.read_step_records`): `question`, `steps`, `labels`,
    optional `rollouts`, `id`, and `scores` (dreamprm.data.step_scores). Images are not opened.

    Args:
        path: a JSON array or a JSON Lines file; its labels and scores are held in memory.
        scorers: the scorers to read; empty: all of them, and every record then needs the same ones.
        label_threshold: as in `ScoredSteps.of`.
        tolerance: how bad rows are handled; None: the first one is an error.

    Raises:
        UserError: no such file, or a named scorer that judges whole responses.
        DataError: a bad record, naming file, line, field, value and what is allowed; no records; no scorer of
            steps.
    """
    path, report = Path(path), ReadReport()
    wanted: list[str] = list(scorers)
    whole: set[str] = set()

    def parse(fields: Fields) -> ScoredRecord:
        steps = fields.texts("steps")
        if not steps:
            raise fields.error("steps", "at least one step")
        labels = fields.probabilities("labels", len(steps))
        scores = read_scores(fields, len(steps))
        if not wanted:
            wanted.extend(scores)
        _check_scorers(fields, scores, wanted, named=bool(scorers))
        whole.update(name for name in wanted if len(scores[name]) != len(steps))
        return ScoredRecord(
            id=fields.identifier(),
            question=question_key(fields.text("question"), _images(fields)),
            labels=labels,
            rollouts=fields.counts("rollouts", len(steps)),
            scores={name: scores[name] for name in wanted},
            domain=_domain(fields),
        )

    records = list(parsed_records(path, parse, report, tolerance or Tolerance()))
    if whole and scorers:
        raise UserError(
            f"{path}: scorer {sorted(whole)[0]!r} gives one value per response, but steps are judged here; "
            "name scorers with one value per step"
        )
    kept = [name for name in wanted if name not in whole]
    if not kept:
        raise DataError(
            f"{path}: no scorer with one value per step (scorers: {', '.join(sorted(whole)) or 'none'}); "
            "score the file with a PRM (dreamprm score)"
        )
    if whole:
        records = [record._replace(scores={name: record.scores[name] for name in kept}) for record in records]
    steps = ScoredSteps.of(records, label_threshold=label_threshold)
    return StepFile(steps, tuple(sorted(whole)), report)


def question_key(question: str, images: Iterable[str] = ()) -> int:
    """A 64-bit hash of a question: its text, with normalised white space, and its image files' names."""
    content = json.dumps([" ".join(question.split()), [Path(image).name for image in images]])
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")


def _check_scorers(fields: Fields, scores: Scores, wanted: Sequence[str], *, named: bool) -> None:
    if not scores:
        raise fields.error("scores", "scores of at least one scorer; `dreamprm score` writes them")
    for name in wanted:
        if name not in scores:
            raise fields.error("scores", f"scores of {name!r}", sorted(scores))
    more = sorted(set(scores) - set(wanted))
    if more and not named:
        raise fields.error(
            "scores",
            f"the scorers of the first record ({', '.join(wanted)}); name those to evaluate"
            " (scorers=[...]) if the records have different ones",
            more,
        )


def _domain(fields: Fields) -> str:
    domain = fields.values.get("domain")
    return domain if isinstance(domain, str) else ""


def _images(fields: Fields) -> list[str]:
    given = fields.values.get("images") or fields.values.get("image") or []
    return [str(image) for image in given] if isinstance(given, list) else [str(given)]
