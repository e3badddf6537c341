"""Turns published questions and predictions into candidate records, checked by the benchmark's rules."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

from dreamprm.answers import Judgement, Verdict, check_all
from dreamprm.config.errors import DataError, UserError
from dreamprm.data.records import RIGHT_FROM, Candidate, CandidateRecord
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checked import BenchmarkCandidates, CandidateReport
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker, Graded
from dreamprm.formats.benchmarks.predictions import OtherQuestions, Prediction, Sources, read_predictions
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.candidate_groups import split_candidate
from dreamprm.generators.base import Generator
from dreamprm.generators.prompting import question_text

Outcomes = Literal["check", "published"]
Empty = Literal["error", "wrong"]
Incomplete = Literal["error", "keep"]

NO_RESPONSE = "(no response)"
"""The text of a candidate whose model gave no response; such a candidate is wrong."""


def to_candidates(
    benchmark: Benchmark,
    questions: QuestionSet,
    predictions: Sources,
    *,
    judge: Generator | None = None,
    outcomes: Outcomes = "check",
    use_extracted: bool = True,
    split: str = "paragraphs",
    empty: Empty = "error",
    incomplete: Incomplete = "error",
    other_questions: OtherQuestions = "error",
) -> BenchmarkCandidates:
    """Collect the predictions of several models or samples as candidates of each question.

    Args:
        benchmark: the benchmark whose rules decide what is right.
        questions: as returned by `read_questions`; their images become the records' images.
        predictions: files or folders; see `read_predictions`.
        judge: the language model, for benchmarks whose rules use one.
        outcomes: `check`: the benchmark's rules decide; `published`: the flags or grades in the files are
            used.
        use_extracted: judge the answer from the benchmark's own extraction if the file has it; if False,
            always judge the response.
        split: how responses are split into steps; see `dreamprm.responses.parse_response`.
        empty: an empty response is an `error`, or a `wrong` candidate with the text `NO_RESPONSE`, which is
            counted.
        incomplete: questions with fewer candidates than others are an `error`, or are kept (`keep`).
        other_questions: see `read_predictions`.

    Raises:
        UserError: a bad option, no such file, a missing judge.
        DataError: a bad row; a prediction without an outcome (`outcomes=published`); an empty response; no
            predictions; questions with fewer candidates than others.
    """
    for name, value, allowed in (
        ("outcomes", outcomes, ("check", "published")),
        ("empty", empty, ("error", "wrong")),
        ("incomplete", incomplete, ("error", "keep")),
    ):
        if value not in allowed:
            raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    report = CandidateReport()
    found: dict[str, list[Candidate]] = {}
    checker = benchmark.checker(questions, judge) if outcomes == "check" else None
    try:
        read = read_predictions(benchmark, predictions, questions, other_questions=other_questions)
        judged = (
            ((one, _published(one, graded=benchmark.asks_judge == "always")) for one in read)
            if checker is None
            else _checked(read, checker, judge, use_extracted, empty)
        )
        for prediction, judgement in judged:
            _count(report, prediction.generator, judgement, empty=not prediction.response.strip())
            candidate = split_candidate(
                prediction.response if prediction.response.strip() else NO_RESPONSE,
                split=split,
                final_answer=judgement.extracted,
                correct=_correct(judgement),
                credit=_credit(judgement),
                generator=prediction.generator,
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
        _require_complete(questions, found)
    return BenchmarkCandidates([_record(benchmark, one, found[one.record.id]) for one in asked], report)


def check_candidates(
    benchmark: Benchmark,
    questions: QuestionSet,
    records: Iterable[CandidateRecord],
    *,
    judge: Generator | None = None,
) -> BenchmarkCandidates:
    """Check candidates of any origin by the benchmark's rules, replacing their `correct` and `credit`.

    Use it for candidates sampled by `dreamprm sample`; their responses follow our prompt, so build the
    benchmark with rules="stated". Scores and steps are kept.

    Args:
        benchmark: the benchmark whose rules decide.
        questions: the questions that the records answer, matched by record id or published id.
        records: candidate records.
        judge: the language model, for benchmarks whose rules use one.

    Raises:
        DataError: a record whose question is not in `questions`.
        UserError: a missing judge, or one that did not reply to every request.
    """
    report, checked = CandidateReport(), []
    checker = benchmark.checker(questions, judge)
    known = list(records)
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
            _count(report, str(candidate.generator), judgement, empty=candidate.text == NO_RESPONSE)
            candidates.append(
                dataclasses.replace(candidate, correct=_correct(judgement), credit=_credit(judgement))
            )
        checked.append(dataclasses.replace(record, candidates=tuple(candidates)))
    return BenchmarkCandidates(checked, report)


def _published(prediction: Prediction, *, graded: bool) -> Judgement:
    """The judgement given by the flag or grade in the file."""
    outcome = prediction.outcome
    if outcome is None:
        raise prediction.row.missing(
            "true_false, correct, hit or score", "a flag or grade, which outcomes=published reads"
        )
    if not graded and outcome not in (0.0, 1.0):
        where = f"{prediction.row.path}:{prediction.row.line}"
        raise DataError(
            f"{where}: got a grade of {outcome:g}; allowed: 0 or 1, since this benchmark does not grade"
        )
    verdict: Verdict = "right" if outcome >= RIGHT_FROM else "wrong"
    return Graded(verdict, prediction.extracted, "as published", outcome if graded else None)


def _checked(
    predictions: Iterable[Prediction],
    checker: BenchmarkChecker,
    judge: Generator | None,
    use_extracted: bool,
    empty: Empty,
) -> Iterator[tuple[Prediction, Judgement]]:
    """Predictions with the checker's judgements; if there is a judge, all are read before it is queried."""
    if judge is None:
        for one in predictions:
            yield one, _call(one, checker, use_extracted, empty)()
        return
    known = list(predictions)
    calls = [_call(one, checker, use_extracted, empty) for one in known]
    yield from zip(known, check_all(calls, judge=judge), strict=True)


def _call(
    prediction: Prediction, checker: BenchmarkChecker, use_extracted: bool, empty: Empty
) -> Callable[[], Judgement]:
    if not prediction.response.strip():
        if empty == "error":
            raise prediction.row.error(
                "response",
                "a non-empty text (empty=wrong counts empty responses as wrong)",
                prediction.response,
            )
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


def _require_complete(questions: QuestionSet, found: dict[str, list[Candidate]]) -> None:
    """Require that all questions have the same number of candidates of each generator."""
    counts = {id: Counter(str(one.generator) for one in ones) for id, ones in found.items()}
    most: Counter[str] = Counter()
    for count in counts.values():
        most |= count
    for question in questions:
        missing = most - counts.get(question.record.id, Counter())
        if missing:
            names = ", ".join(f"{generator} ({number})" for generator, number in missing.items())
            raise DataError(
                f"question {question.published} lacks candidates that other questions have: {names}; figures "
                "would leave it out; complete the predictions, or set incomplete=keep"
            )
