"""One suite of scored candidates: read its files, join them, judge the candidates that have no verdict."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dreamprm.answers import Judgement
from dreamprm.answers.naming import candidate_votes
from dreamprm.config.errors import DataError
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.read_report import OnError, ReadReport
from dreamprm.data.readers import read_candidate_records
from dreamprm.data.records import Candidate, CandidateRecord, QuestionRecord, contradicting
from dreamprm.data.shortcut_audit import audit_shortcuts
from dreamprm.evaluation.packed import Mapped, PackedLogOdds, PackedQuestions, PackedRecords
from dreamprm.files.json_values import shown
from dreamprm.generators.prompting import asked_question
from dreamprm.responses import answered_text

Say = Callable[[str], None]
Asked = tuple[str, QuestionRecord]
"""A response, and the question that it answers."""
Check = Callable[[Sequence[Asked]], list[Judgement]]
LogOdds = Sequence[tuple[tuple[float, ...], ...]]


@dataclass(frozen=True)
class ScoredSuite:
    """What selection needs from a suite; tuples hold one entry per question, nested ones one per candidate.

    Attributes:
        records: the records themselves, for messages and examples; their images may be missing.
        correct: each candidate's outcome: 1 if right, 0 if wrong or undecided, its credit if graded.
        votes: the name under which each answer is counted (`candidate_vote`); None without an answer.
        log_odds: by scorer, each candidate's per-step log-odds, or a single value for the whole response.
        graded: number of candidates that have a credit.
        judged: counts of the verdicts on candidates that came without `correct`.
        left_out: number of bad records that were left out.
        warnings: trivial features that predict `correct`.
        options: each question's options, from a question file; empty without one.
    """

    records: Sequence[CandidateRecord]
    correct: tuple[tuple[float, ...], ...]
    votes: tuple[tuple[str | None, ...], ...]
    log_odds: Mapping[str, LogOdds]
    graded: int = 0
    judged: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    warnings: tuple[str, ...] = ()
    options: tuple[tuple[str, ...], ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of candidates of each question."""
        return tuple(map(len, self.correct))


def open_scored_suite(
    paths: Sequence[str],
    *,
    questions: str | None = None,
    check: Check | None = None,
    uneven: bool = False,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    say: Say = print,
) -> ScoredSuite:
    """Read the files of one suite.

    Args:
        paths: files of the same candidates with scores of different scorers; the first file sets the order.
        questions: file of question records with the suite's ids; None: options are those that a record's
            question lists as our prompts do (`asked_question`).
        check: judges the candidates with neither `correct` nor `credit`, all at once; called only if there
            are any. None: such a candidate is an error.
        uneven: whether questions may have different numbers of candidates.
        on_error, max_bad_fraction: as in the readers. A record left out of one file must be left out of all.
        say: receives messages about records that were left out.

    Raises:
        UserError, DataError: those of the readers.
        DataError: two records with the same id, files that do not hold the same candidates or contradict each
            other, a candidate that some scorer did not score or that cannot be judged, questions with
            different numbers of candidates.
    """
    joined = PackedRecords(())
    left_out = 0
    for path in paths:
        report = ReadReport()
        # Images are not needed to compare answers, so they are not checked; examples report missing ones.
        records = PackedRecords(
            _with_image_paths(record, path)
            for record in read_candidate_records(
                path,
                missing_image="keep",
                allow_no_image=True,
                on_error=on_error,
                max_bad_fraction=max_bad_fraction,
                report=report,
            )
        )
        for line in report.lines():
            say(f"{path}: {line}")
        left_out = max(left_out, report.bad)
        _require_unique(path, records)
        joined = _joined(joined, records, paths[0], path) if joined else records
    if not uneven:
        _require_even(paths[0], joined)
    ask = _questions(questions, joined, paths[0])
    known, judged = _judged(joined, ask, check, paths[0])
    correct: list[tuple[float, ...]] = []
    votes: list[tuple[str | None, ...]] = []
    options: list[tuple[str, ...]] = []
    log_odds = _LogOdds(paths[0])
    graded = 0
    same: dict[Any, Any] = {}  # outcomes, votes and options repeat: each is held once

    def read() -> Iterator[CandidateRecord]:
        nonlocal graded
        for record in known:
            question = ask(record)
            outcomes = tuple(candidate.outcome for candidate in record.candidates)
            named = candidate_votes(record.candidates, question)
            correct.append(same.setdefault(outcomes, outcomes))
            votes.append(tuple(same.setdefault(vote, vote) for vote in named))
            options.append(same.setdefault(question.options, question.options))
            log_odds.add(record)
            graded += sum(one.credit is not None for one in record.candidates)
            yield record

    warnings = tuple(audit_shortcuts(read()).warnings())
    return ScoredSuite(
        known,
        tuple(correct),
        tuple(votes),
        log_odds.by_scorer(),
        graded,
        judged,
        left_out,
        warnings,
        tuple(options),
    )


def shared_questions(one: ScoredSuite, other: ScoredSuite) -> list[str]:
    """Ids of the first suite's questions that the other has too: same id and text, or text and images."""
    by_id = {(record.id, record.question) for record in other.records}
    pictured = {(record.question, record.images) for record in other.records if record.images}
    return [
        record.id
        for record in one.records
        if (record.id, record.question) in by_id or (record.question, record.images) in pictured
    ]


def _joined(
    base: PackedRecords,
    more: PackedRecords,
    first: str,
    path: str,
) -> PackedRecords:
    by_id = {id: number for number, id in enumerate(more.ids)}
    only = [id for id in base.ids if id not in by_id]
    strange = sorted(by_id.keys() - set(base.ids))
    if only or strange:
        lacking, id = (path, only[0]) if only else (first, strange[0])
        raise DataError(
            f"{first} and {path} are joined by id, but {len(only) + len(strange)} ids occur in only one of "
            f"them, such as {id!r}, which {lacking} lacks; give every record an id, the same in both files"
        )
    return PackedRecords(_joined_records(base, more, by_id, f"{first} and {path}"))


def _joined_records(
    base: PackedRecords, more: PackedRecords, by_id: Mapping[str, int], files: str
) -> Iterator[CandidateRecord]:
    for record in base:
        other = more[by_id[record.id]]
        for name in ("question", "answer"):
            if getattr(record, name) != getattr(other, name):
                raise DataError(
                    f"{files}: record {record.id} has {name} {shown(getattr(record, name))} in "
                    f"one and {shown(getattr(other, name))} in the other; {_SAME}"
                )
        candidates = other.candidates
        if [one.text for one in record.candidates] != [one.text for one in candidates]:
            raise DataError(
                f"{files}: record {record.id} has different candidates in the two files; "
                f"{_SAME}, in the same order"
            )
        yield replace(
            record,
            candidates=tuple(
                _merged(mine, theirs, f"{files}: candidate {number} of record {record.id}")
                for number, (mine, theirs) in enumerate(zip(record.candidates, candidates, strict=True))
            ),
        )


_ONCE = "judge the candidates once, then score them"
_SAME = "join files that were scored from the same candidates"


def _merged(mine: Candidate, theirs: Candidate, where: str) -> Candidate:
    for name in ("correct", "credit"):
        one, other = getattr(mine, name), getattr(theirs, name)
        if None not in (one, other) and one != other:
            raise DataError(f"{where}: {name!r} is {one} in one and {other} in the other; {_ONCE}")
    # An answer counts as a vote, and every step has its score: neither may depend on which file comes first.
    for name in ("final_answer", "generator"):
        one, other = getattr(mine, name), getattr(theirs, name)
        if None not in (one, other) and one != other:
            raise DataError(
                f"{where}: {name!r} is {shown(one)} in one and {shown(other)} in the other; {_SAME}"
            )
    if mine.steps != theirs.steps and any(len(values) > 1 for values in theirs.scores.values()):
        raise DataError(
            f"{where}: has {len(mine.steps)} steps in one and {len(theirs.steps)} different ones in the "
            f"other; {_SAME}"
        )
    for name in set(mine.scores) & set(theirs.scores):
        if tuple(mine.scores[name]) != tuple(theirs.scores[name]):
            raise DataError(
                f"{where}: both files hold scores of {name!r}, and they differ; rename one of the scorers"
            )
    merged = replace(
        mine,
        correct=theirs.correct if mine.correct is None else mine.correct,
        credit=theirs.credit if mine.credit is None else mine.credit,
        final_answer=theirs.final_answer if mine.final_answer is None else mine.final_answer,
        generator=theirs.generator if mine.generator is None else mine.generator,
        scores={**theirs.scores, **mine.scores},
    )
    contradiction = contradicting(merged.correct, merged.credit)
    if contradiction is not None:
        raise DataError(
            f"{where}: 'correct' is {merged.correct} in one and 'credit' is {merged.credit} in the other, "
            f"but {contradiction}; {_ONCE}"
        )
    return merged


def _with_image_paths(record: CandidateRecord, path: str) -> CandidateRecord:
    """The record with its image paths resolved relative to its file's folder, as the readers do."""
    folder = os.path.dirname(os.path.abspath(path))
    return replace(record, images=tuple(os.path.join(folder, image) for image in record.images))


def _require_unique(path: str, records: PackedRecords) -> None:
    repeated = [id for id, count in Counter(records.ids).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: {len(repeated)} ids occur in several records (the first: {repeated[0]!r}); a question "
            "may occur only once: give each its own id, or remove the duplicates"
        )


def _require_even(path: str, records: PackedRecords) -> None:
    expected = len(records.generators[0])
    for id, generators in zip(records.ids, records.generators, strict=True):
        if len(generators) != expected:
            raise DataError(
                f"{path}: record {id} has {len(generators)} candidates, the first has "
                f"{expected}; give every question the same number, or set uneven=own, which uses as many as "
                "each question has"
            )


def _questions(
    path: str | None,
    records: PackedRecords,
    source: str,
) -> Callable[[CandidateRecord], QuestionRecord]:
    """What gives the question that a record answers."""
    if path is None:
        return asked_question
    known = PackedQuestions(read_question_records(path, missing_image="keep", allow_no_image=True))
    absent = [id for id in records.ids if id not in known]
    if absent:
        raise DataError(
            f"{path}: has no question for {len(absent)} of {len(records)} records of {source} (the first: "
            f"{absent[0]!r}); give the questions that they answer, with the same ids"
        )
    return lambda record: known[record.id]


def _judged(
    records: PackedRecords,
    ask: Callable[[CandidateRecord], QuestionRecord],
    check: Check | None,
    path: str,
) -> tuple[PackedRecords, dict[str, int]]:
    """The records with a verdict on every candidate that is not graded, and counts of the new ones."""
    if not records.open:
        return records, {}
    if check is None:
        row, number = records.open[0]
        raise DataError(
            f"{path}: candidate {number} of record {records.ids[row]} has no 'correct', so selection "
            "cannot be judged; give true or false, or a checker (answers.kind=auto)"
        )
    verdicts = [
        one.verdict for one in check(Mapped(lambda place: _asked(records, *place, ask), records.open))
    ]
    found = iter(verdicts)  # in the order of the candidates that have none
    known = PackedRecords(
        replace(
            record,
            candidates=tuple(
                replace(one, correct=next(found) == "right")
                if one.correct is None and one.credit is None
                else one
                for one in record.candidates
            ),
        )
        for record in records
    )
    return known, dict(Counter(verdicts))


def _asked(
    records: PackedRecords, row: int, number: int, ask: Callable[[CandidateRecord], QuestionRecord]
) -> Asked:
    record = records[row]
    return _read_as(record.candidates[number]), ask(record)


def _read_as(candidate: Candidate) -> str:
    """What is read for the verdict, and for the vote."""
    return answered_text(candidate.text, candidate.final_answer)


class _LogOdds:
    """Collects the log-odds of a suite's records: every scorer must have scored every candidate."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._scorers: dict[str, PackedLogOdds] = {}
        self._begun: tuple[str, int] | None = None  # the first candidate: record and number
        self._lacking: tuple[str, int, str] | None = None  # record, number and scorer

    def add(self, record: CandidateRecord) -> None:
        """Take the scores of one record."""
        for number, candidate in enumerate(record.candidates):
            for name in [name for name in candidate.scores if name not in self._scorers]:
                self._scorers[name] = PackedLogOdds()
                if self._begun is not None and (self._lacking is None or self._lacking[:2] != self._begun):
                    self._lacking = (*self._begun, name)  # found late: the first candidate lacks it
            self._begun = self._begun or (record.id, number)
            if self._lacking is None:
                lacking = next((name for name in self._scorers if name not in candidate.scores), None)
                self._lacking = None if lacking is None else (record.id, number, lacking)
        if self._lacking is None:
            for name, held in self._scorers.items():
                held.append([candidate.scores[name] for candidate in record.candidates])

    def by_scorer(self) -> dict[str, PackedLogOdds]:
        """The log-odds by scorer.

        Raises:
            DataError: a candidate lacks a scorer that others have.
        """
        if self._lacking is not None:
            id, number, name = self._lacking
            raise DataError(
                f"{self._path}: candidate {number} of record {id} has no score by {name!r}, "
                "which other candidates have; score all candidates of a suite, or remove the scorer "
                "from all of them"
            )
        return self._scorers
