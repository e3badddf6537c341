"""`dreamprm score`: adds a scorer's log-odds to files; resumes where it was stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.image_paths import vouch
from dreamprm.data.read_report import OnError, ReadReport, Tolerance
from dreamprm.files.atomic import (
    remove_ended,
    remove_leftovers,
    save_config,
    write_atomically,
    write_lines_atomically,
)
from dreamprm.files.content import FileDigests, image_contents
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.distinct import require_distinct
from dreamprm.models.images import ImageStore
from dreamprm.models.record_checks import RecordChecks
from dreamprm.runtime.process import prepare_process
from dreamprm.runtime.progress import duration
from dreamprm.scorers.base import StepScorer
from dreamprm.scorers.local import LocalScorer
from dreamprm.scorers.opening import open_scorer, scorer_name
from dreamprm.scoring.asked_scores import asked_chains
from dreamprm.scoring.chain_scores import WINDOW_PASSES, Chain, WindowRule, scored_chains
from dreamprm.scoring.counts import FileCounts
from dreamprm.scoring.journal import ScoreJournal, StoredScores
from dreamprm.scoring.refused_rows import UnscoredRows, refusal, require_scorable
from dreamprm.scoring.rows import Kind, Row, Source, Stepless, rounded
from dreamprm.scoring.score_status import ScoreStatus
from dreamprm.scoring.settings import ScoreConfig

REPLIES_FILE = "critic.replies.jsonl"
"""In the output folder: what a critic replied."""

# A chain's place: (index of the row, index of the chain in it).
Place = tuple[int, int]


def run_score(config: ScoreConfig) -> None:
    """Score every file; write OUTPUT/NAME.jsonl, OUTPUT/NAME.scores.jsonl (the journal) and summary.json.

    All files are read once before the model is loaded, so that a bad record shows at once, and what no model
    could take (an image, a length) before the first of them is scored. An interrupted run
    resumes from the journal: rows whose content (question, steps, what the images hold) is unchanged keep
    their scores, wherever they are now, and the others are scored.

    Raises:
        UserError: a problem with the configuration, the model or the contents of the output folder.
        DataError: a bad record.
    """
    prepare_process(config.threads)
    folder, name = Path(config.output), scorer_name(config, config.name)
    require_folder(folder)
    require_distinct(config.files.values(), "files")
    sources = {label: _source(config, path, name) for label, path in config.files.items()}
    for label, source in sources.items():
        if source.path.resolve() == (folder / f"{label}.jsonl").resolve():
            raise UserError(
                f"files.{label}={source.path} would be replaced by its own result; choose another output"
            )
    counts = {label: FileCounts.of(source, say=_say) for label, source in sources.items()}
    digests = FileDigests()
    scorer = open_scorer(config, digests, replies=folder / REPLIES_FILE, say=_say)
    try:
        _score_all(config, scorer, sources, counts, name=name, digests=digests)
    finally:
        scorer.close()


def _score_all(
    config: ScoreConfig,
    scorer: StepScorer,
    sources: Mapping[str, Source],
    counts: Mapping[str, FileCounts],
    *,
    name: str,
    digests: FileDigests,
) -> None:
    """Score every file with an open scorer, and write the results."""
    folder = Path(config.output)
    prm = scorer.prm if isinstance(scorer, LocalScorer) else None
    changed = scorer.changed if isinstance(scorer, LocalScorer) else None
    identity = scorer.identity() | {"kind": config.kind, "stepless": config.data.stepless}
    summary: dict[str, Any] = {
        "scorer": name,
        "model": config.model or name,
        "made_by": identity,
        "files": {},
    }
    with ExitStack() as stack:
        held: dict[str, StoredScores] = {}
        for label in sources:
            scores = folder / f"{label}.scores.jsonl"
            # Scores that are there were made by the same files, or the journal refuses.
            if changed is not None and not (scores.is_file() and scores.stat().st_size):
                raise UserError(changed)
            journal = stack.enter_context(ScoreJournal(scores, identity))
            remove_leftovers(folder, re.compile(re.escape(f"{label}.jsonl")))
            held[label] = StoredScores(
                journal,
                digests,
                text_only=config.data.missing_image == "text_only",
                cut_off=config.data.truncated_image == "read",
            )
        remove_ended(folder)
        save_config(folder / "config.yaml", config)  # only after the journals have been found to match
        before = {
            label: _before(sources[label], stored, WindowRule(WINDOW_PASSES * config.batch_size), label=label)
            if len(stored.journal)
            else _Before()
            for label, stored in held.items()
        }
        checks = RecordChecks(
            None if prm is None else prm.processor,
            cache_dir=None,
            digests=digests,
            missing=config.data.missing_image,
            truncated=config.data.truncated_image,
            workers=config.data.num_workers,
            mode=config.log.progress,
            say=_say,
        )
        files = [
            UnscoredRows(sources[label], held[label], counts[label].candidates - before[label].candidates)
            for label in sources
        ]
        require_scorable(files, checks, mode=config.log.progress, say=_say)
        for label, source in sources.items():
            stored = held[label]
            status = _score(
                config, scorer, source, stored, label=label, counts=counts[label], before=before[label]
            )
            path = folder / f"{label}.jsonl"
            written = _write(source, stored, path, name)
            summary["files"][label] = {
                "source": str(source.path),
                **counts[label].to_json(),
                "records_scored_before": before[label].records,
                "stored_scores_not_used": before[label].not_used,
                "scored_now": status.scored,
                "seconds": round(status.seconds, 3),
                "candidates_per_second": round(status.scored / status.seconds, 3) if status.scored else None,
                "written": written.rows,
                "left_out": written.report.bad,
                "without_images": written.report.text_only,
                "without_images_first": written.report.without_images[:10],
                "cut_off_images": written.report.cut_off,
                "cut_off_images_first": written.report.cut_off_images[:10],
            }
            _say(
                f"{path}: {written.rows:,} records with scores of {name!r}; {status.scored:,} candidates "
                f"with {status.steps:,} steps were scored in {duration(status.seconds)}"
            )
            for line in written.report.lines():
                _say(f"{source.path}: {line}")
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


@dataclass
class _Before:
    """What the journal holds of a file at the start: rows, their candidates, and keys of no row.

    Attributes:
        window: number of the row from which on rows go through the model with those that they go with in a
            run from the start, known ones included, so that a run that was stopped ends as if it had not
            been: 0, or in a file that has changed the window that was scored last. None: it was not stopped.
    """

    records: int = 0
    candidates: int = 0
    not_used: int = 0
    window: int | None = None


@dataclass
class _Pending:
    """A row whose chains are being scored, and the key of its scores."""

    row: Row
    key: str
    open: int
    log_odds: list[list[float] | None]
    left_out: str | None = None


def _score(
    config: ScoreConfig,
    scorer: StepScorer,
    source: Source,
    stored: StoredScores,
    *,
    label: str,
    counts: FileCounts,
    before: _Before,
) -> ScoreStatus:
    """Score every row of the file whose content is not in the journal, and write it there."""
    report = ReadReport()
    pending: dict[int, _Pending] = {}
    status = ScoreStatus(
        label, counts.candidates, before=before.candidates, mode=config.log.progress, every=config.log.every
    )

    def finish(number: int, held: _Pending) -> None:
        held.open -= 1
        if held.open <= 0:
            image_contents(held.row.record.images, stored.digests)  # raises if one was replaced meanwhile
            paths = held.row.record.images
            stored.journal.append(
                held.key,
                held.log_odds,
                held.left_out,
                row=number,
                images={"lost": images.lost(paths), "cut_off": images.cut_off(paths)},
            )
            pending.pop(number, None)
            status.add(len(held.log_odds), sum(len(values) for values in held.log_odds if values))

    def chains() -> Iterator[Chain[Place]]:
        for number, (row, keys) in enumerate(stored.rows(source, report)):
            if known := stored.key(keys) is not None:
                if before.window is None or number < before.window:
                    continue
            members = _chains(row, number, known=known, begins_window=number == before.window)
            if not known:
                held = pending[number] = _Pending(row, keys[-1], len(members), [None] * len(row.chains))
                if not members:
                    finish(number, held)
            yield from members

    def refused(chain: Chain[Place], error: UserError) -> None:
        number, i = chain.place
        held = pending[number]
        problem = refusal(source, held.row, i, str(error))
        if held.left_out is None:
            source.tolerance.take(problem, report, source.path)
            held.left_out = str(problem)
        finish(number, held)

    missing, truncated = config.data.missing_image, config.data.truncated_image
    found: Iterator[tuple[Place, list[float]]]
    if isinstance(scorer, LocalScorer):
        images = scorer.prm.processor.image_store(missing=missing, truncated=truncated)
        found = scored_chains(
            scorer.prm,
            chains(),
            images=images,
            limits=scorer.limits,
            refused=refused,
            likelihood=scorer.gives == "likelihood",
        )
    else:
        images = ImageStore(missing=missing, truncated=truncated)
        found = asked_chains(scorer, chains(), images=images, window=config.batch_size, refused=refused)
    with status, _memory_told():
        for (number, i), log_odds in found:
            held = pending[number]
            taken = log_odds[-1:] if scorer.gives == "response" else log_odds
            held.log_odds[i] = rounded(taken, held.row.where)
            finish(number, held)
    assert not pending, f"rows {sorted(pending)[:5]} were not scored"
    return status


@contextmanager
def _memory_told() -> Iterator[None]:
    """Say what to do if the GPU runs out of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU's memory is too small for one pass; lower batch_tokens or batch_size, or "
            f"set precision=bf16, then run the same command again: {error}"
        ) from error


def _chains(row: Row, number: int, *, known: bool = False, begins_window: bool = False) -> list[Chain[Place]]:
    """The chains of a row that have steps."""
    members = [(i, steps) for i, steps in enumerate(row.chains) if steps is not None]
    return [
        Chain(
            row.record.question,
            row.record.images,
            steps,
            (number, i),
            known=known,
            first=begins_window and i == members[0][0],
        )
        for i, steps in members
    ]


def _before(source: Source, stored: StoredScores, rule: WindowRule, *, label: str) -> _Before:
    """What the journal holds of the file, and say how much of the file is scored again."""
    before, records, missing, used, window = _Before(), 0, 0, set(), 0
    for row, keys in stored.rows(source, ReadReport()):
        begins = [rule.begins(chain) for chain in _chains(row, records)]
        if begins and begins[0]:
            window = records
        records += 1
        key = stored.key(keys)
        if key is not None:
            before.window = window
            before.records += 1
            before.candidates += len(row.chains)
            used.add(key)
        missing += key is None and keys[-1] not in stored.journal.left_out
    before.not_used = len(stored.journal) - len(used)
    if not missing or not before.not_used:
        before.window = 0 if missing else None
    told = (
        f"{label}: {before.records:,} of {records:,} records keep their stored scores; "
        f"{records - before.records:,} are new or have changed, and are scored"
    )
    if before.not_used:
        told += f"; {before.not_used:,} stored scores are of content that the file no longer has"
    _say(told)
    return before


@dataclass
class _Written:
    """A finished file."""

    rows: int = 0
    report: ReadReport = field(default_factory=ReadReport)


def _write(source: Source, stored: StoredScores, path: Path, name: str) -> _Written:
    """Write the file's rows with their scores, atomically."""
    written = _Written()

    def lines() -> Iterator[str]:
        for row, keys in stored.rows(source, written.report):
            key = stored.key(keys)
            if key is None:
                raise UserError(
                    f"{source.path} changed while it was being scored; run the same command again"
                )
            entry = stored.journal.read(key)
            if entry.left_out is not None:
                written.report.bad += 1
                written.report.leave_out(entry.left_out)
                continue
            report = written.report
            images = stored.journal.images(key)
            if (lost := images.get("lost")) is not None:
                report.text_only += 1
                report.note(report.without_images, f"{row.where}: {lost}")
            elif (cut_off := images.get("cut_off")) is not None:
                report.cut_off += 1
                report.note(report.cut_off_images, f"{row.where}: {cut_off}")
            scored = row.scored(name, entry.log_odds, folder=path.parent)
            yield json.dumps(scored, ensure_ascii=False, allow_nan=False) + "\n"
            written.rows += 1
        source.tolerance.judge(written.report, source.path)
        if not written.rows:
            raise DataError(
                f"{source.path}: every record was left out; the first: {written.report.left_out[0]}"
            )

    write_lines_atomically(path, lines())
    vouch(path)
    return written


def _source(config: ScoreConfig, path: str, name: str) -> Source:
    data = config.data
    return Source(
        path=Path(path),
        kind=cast(Kind, config.kind),
        name=name,
        replace=config.replace,
        stepless=cast(Stepless, data.stepless),
        image_root=data.image_root,
        missing_image=cast(Any, data.missing_image),
        allow_outside=data.allow_outside,
        allow_no_image=data.allow_no_image,
        tolerance=Tolerance(cast(OnError, data.on_error), data.max_bad_fraction),
    )


def _say(line: str) -> None:
    print(line, flush=True)
