"""Turns published questions and predictions into candidate records, checked by the benchmark's rules."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

from dreamprm.answers import Judgement, Verdict, check_all
from dreamprm.config.errors import DataError, UserError
from dreamprm.data.read_report import Tolerance
from dreamprm.data.records import RIGHT_FROM, Candidate, CandidateRecord
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checked import BenchmarkCandidates, CandidateReport
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker, Graded
from dreamprm.formats.benchmarks.predictions import (
    OtherQuestions,
    Prediction,
    PredictionReport,
    Sources,
    read_predictions,
)
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.candidate_groups import split_candidate
from dreamprm.generators.base import Generator
from dreamprm.generators.prompting import question_text
from dreamprm.responses import StepCounts
from dreamprm.responses.stated_answers import NO_RESPONSE

Outcomes = Literal["check", "published"]
Unflagged = Literal["error", "check", "undecided"]
Empty = Literal["error", "wrong"]
Incomplete = Literal["error", "keep"]

_UNFLAGGED = Graded("undecided", None, "the file has no flag for it", None)


def to_candidates(
    benchmark: Benchmark,
    questions: QuestionSet,
    predictions: Sources,
    *,
    judge: Generator | None = None,
    outcomes: Outcomes = "check",
    unflagged: Unflagged = "error",
    use_extracted: bool = True,
    split: str = "auto",
    empty: Empty = "error",
    incomplete: Incomplete = "error",
    other_questions: OtherQuestions = "error",
    response_field: str | None = None,
    tolerance: Tolerance | None = None,
) -> BenchmarkCandidates:
    """Collect the predictions of several models or samples as candidates of each question.

    Args:
        benchmark: the benchmark whose rules decide what is right.
        questions: as returned by `read_questions`; their images become the records' images.
        predictions: files or folders; see `read_predictions`.
        judge: the language model, for benchmarks whose rules use one.
        outcomes: `check`: the benchmark's rules decide; `published`: the flags or grades in the files are
            used.
        unflagged: with `published`, a row without a flag is an `error`, or the benchmark's rules decide
            (`check`), or it is `undecided`.
        use_extracted: judge the answer from the benchmark's own extraction if the file has it; if False,
            always judge the response.
        split: how responses are split into steps; see `dreamprm.responses.parse_response`.
        empty: an empty response is an `error`, or a `wrong` candidate with the text `NO_RESPONSE`, which is
            counted.
        incomplete: questions with fewer candidates than others are an `error`, or are kept (`keep`).
        other_questions, response_field: see `read_predictions`.
        tolerance: whether bad rows stop the reading; None: the first one does. As many candidates as there
            are bad rows may then be missing, whatever `incomplete` says.

    Raises:
        UserError: a bad option, no such file, a missing judge.
        DataError: a bad row, or too many; a prediction without an outcome (`outcomes=published`); an empty
            response; no predictions; questions with fewer candidates than others.
    """
    for name, value, allowed in (
        ("outcomes", outcomes, ("check", "published")),
        ("unflagged", unflagged, ("error", "check", "undecided")),
        ("empty", empty, ("error", "wrong")),
        ("incomplete", incomplete, ("error", "keep")),
    ):
        if value not in allowed:
            raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    report = CandidateReport()
    graded = benchmark.asks_judge == "always"
    found: dict[str, list[Candidate]] = {}
    checking = "check" in (outcomes, unflagged)
    checker = benchmark.checker(questions, judge) if checking else None
    try:
        read = read_predictions(
            benchmark,
            predictions,
            questions,
            other_questions=other_questions,
            response_field=response_field,
            tolerance=tolerance,
            reports=report.files,
            require=partial(_require, empty=empty, outcomes=outcomes, unflagged=unflagged, graded=graded),
        )
        judged = (
            ((one, _published(one, graded=graded) if one.outcome is not None else _UNFLAGGED) for one in read)
            if checker is None
            else _checked(read, checker, judge, use_extracted, flags=outcomes == "published", graded=graded)
        )
        for prediction, judgement in judged:
            empty_one = not prediction.response.strip()
            _count(report, prediction.generator, judgement, empty=empty_one)
            candidate = split_candidate(
                prediction.text if prediction.text.strip() else NO_RESPONSE,
                split=split,
                final_answer=judgement.extracted,
                stated_in=prediction.response,
                correct=_correct(judgement),
                credit=_credit(judgement),
                generator=prediction.generator,
            )
            counted = report.steps.setdefault(prediction.file, StepCounts())
            counted[0 if empty_one else len(candidate.steps)] += 1
            if outcomes == "check" and prediction.outcome is not None:
                report.flags.add(
                    prediction.file,
                    prediction.outcome >= RIGHT_FROM,
                    judgement,
                    prediction.question.record,
                    response=prediction.text,
                    generator=prediction.generator,
                    line=prediction.row.line,
                )
            found.setdefault(prediction.question.record.id, []).append(candidate)
    finally:
        if checker is not None:
            checker.close()
    if not found:
        raise DataError(
            "the predictions answer none of the questions; check that both belong to the same benchmark "
            "and split"
        )
    asked = [question for question in questions if question.record.id in found]
    if incomplete == "error":
        _require_complete(questions, found, bad=sum(one.bad for one in report.files.values()))
    return BenchmarkCandidates([_record(benchmark, one, found[one.record.id]) for one in asked], report)


def check_candidates(
    benchmark: Benchmark,
    questions: QuestionSet,
    records: Iterable[CandidateRecord],
    *,
    judge: Generator | None = None,
    file: str = "candidates",
) -> BenchmarkCandidates:
    """Check candidates of any origin by the benchmark's rules, replacing their `correct` and `credit`.

    Use it for candidates sampled by `dreamprm sample`; their responses follow our prompt, so build the
    benchmark with rules="stated". Scores and steps are kept.

    Args:
        benchmark: the benchmark whose rules decide.
        questions: the questions that the records answer, matched by record id or published id.
        records: candidate records.
        judge: the language model, for benchmarks whose rules use one.
        file: what the records are called in the report.

    Raises:
        DataError: a record whose question is not in `questions`.
        UserError: a missing judge, or one that did not reply to every request.
    """
    report, checked = CandidateReport(), []
    checker = benchmark.checker(questions, judge)
    gone = questions.left_out | {benchmark.record_id(id) for id in questions.left_out}
    known, left = [], 0
    for record in records:
        if record.id in gone:
            left += 1
        else:
            known.append(record)
    if left:
        report.files[file] = PredictionReport()
        report.files[file].rows = left + len(known)
        report.files[file].not_chosen["an answer to a question that was left out"] = left
    try:
        calls = [
            partial(checker.check, one.text, questions.required(record.id).record)
            if one.text != NO_RESPONSE
            else _no_response
            for record in known
            for one in record.candidates
        ]
        judgements = iter(check_all(calls, judge=judge))
    finally:
        checker.close()
    for record in known:
        candidates = []
        for candidate, judgement in zip(record.candidates, judgements, strict=False):
            no_response = candidate.text == NO_RESPONSE
            _count(report, str(candidate.generator), judgement, empty=no_response)
            counted = report.steps.setdefault(file, StepCounts())
            counted[0 if no_response else len(candidate.steps)] += 1
            if candidate.correct is not None:
                report.flags.add(
                    file,
                    candidate.correct,
                    judgement,
                    questions.required(record.id).record,
                    response=candidate.text,
                    generator=candidate.generator,
                )
            candidates.append(
                dataclasses.replace(candidate, correct=_correct(judgement), credit=_credit(judgement))
            )
        checked.append(dataclasses.replace(record, candidates=tuple(candidates)))
    return BenchmarkCandidates(checked, report)


def _require(
    prediction: Prediction, *, empty: Empty, outcomes: Outcomes, unflagged: Unflagged, graded: bool
) -> None:
    """Refuse a row without a response or without the outcome that is asked for."""
    if outcomes == "published" and (prediction.outcome is not None or unflagged == "error"):
        _published(prediction, graded=graded)
    elif outcomes == "published" and unflagged == "undecided":
        return
    elif empty == "error" and not prediction.response.strip():
        raise prediction.row.error(
            "response", "a non-empty text (empty=wrong counts empty responses as wrong)", prediction.response
        )


def _published(prediction: Prediction, *, graded: bool) -> Judgement:
    """The judgement given by the flag or grade in the file.

    Raises:
        DataError: it has no judgement, or has a grade where answers are right or wrong.
    """
    outcome = prediction.outcome
    if outcome is None:
        raise prediction.row.missing(
            "true_false, correct, hit, score, match, judgement or if_right",
            "a flag or grade, which outcomes=published reads; for rows without one set unflagged=check (the "
            "benchmark's rules decide) or unflagged=undecided",
        )
    if not graded and outcome not in (0.0, 1.0):
        raise DataError(
            f"{prediction.row.where}: got a grade of {outcome:g}; allowed: 0 or 1, since this benchmark does "
            "not grade"
        )
    verdict: Verdict = "right" if outcome >= RIGHT_FROM else "wrong"
    return Graded(verdict, prediction.extracted, "as published", outcome if graded else None)


def _checked(
    predictions: Iterable[Prediction],
    checker: BenchmarkChecker,
    judge: Generator | None,
    use_extracted: bool,
    *,
    flags: bool,
    graded: bool,
) -> Iterator[tuple[Prediction, Judgement]]:
    """Predictions with the checker's judgements; if there is a judge, all are read before it is queried.

    With `flags`, only those without a flag of their own are checked.
    """

    def call(one: Prediction) -> Callable[[], Judgement]:
        if flags and one.outcome is not None:
            return partial(_published, one, graded=graded)
        return _call(one, checker, use_extracted)

    if judge is None:
        for one in predictions:
            yield one, call(one)()
        return
    known = list(predictions)
    yield from zip(known, check_all([call(one) for one in known], judge=judge), strict=True)


def _call(prediction: Prediction, checker: BenchmarkChecker, use_extracted: bool) -> Callable[[], Judgement]:
    if not prediction.response.strip():
        return _no_response
    if use_extracted and prediction.extracted is not None:
        return partial(checker.compare, prediction.extracted, prediction.question.record)
    return partial(checker.check, prediction.response, prediction.question.record)


def _no_response() -> Judgement:
    return Graded("wrong", None, "no response", 0.0)


def _correct(judgement: Judgement) -> bool | None:
    return None if judgement.verdict == "undecided" else judgement.verdict == "right"


def _credit(judgement: Judgement) -> float | None:
    return judgement.credit if isinstance(judgement, Graded) else None


def _count(report: CandidateReport, generator: str, judgement: Judgement, *, empty: bool) -> None:
    report.verdicts.setdefault(generator, Counter())[judgement.verdict] += 1
    report.empty[generator] += empty
    if judgement.verdict == "undecided":
        report.reasons[judgement.reason] += 1


def _record(
    benchmark: Benchmark, question: BenchmarkQuestion, candidates: Sequence[Candidate]
) -> CandidateRecord:
    record = question.record
    return CandidateRecord(
        question=question_text(record.question, record.options),
        images=record.images,
        benchmark=benchmark.title,
        answer=record.answer,
        candidates=tuple(candidates),
        id=record.id,
    )


def _require_complete(questions: QuestionSet, found: dict[str, list[Candidate]], *, bad: int) -> None:
    """Require that all questions have the same number of candidates of each generator.

    Bad rows that were left out may be missing.
    """
    counts = {id: Counter(str(one.generator) for one in ones) for id, ones in found.items()}
    most: Counter[str] = Counter()
    for count in counts.values():
        most |= count
    lacking = sum((most - counts.get(one.record.id, Counter())).total() for one in questions)
    for question in questions if lacking > bad else ():
        missing = most - counts.get(question.record.id, Counter())
        if missing:
            names = ", ".join(f"{generator} ({number})" for generator, number in missing.items())
            raise DataError(
                f"question {question.published} lacks candidates that other questions have: {names}; figures "
                "would leave it out; complete the predictions, or set incomplete=keep"
            )
