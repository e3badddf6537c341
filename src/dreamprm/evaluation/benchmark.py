"""`dreamprm benchmark`: question records, checked candidates and figures in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamprm import __version__
from dreamprm.config.errors import DataError
from dreamprm.config.loading import as_dict
from dreamprm.data.read_report import ReadReport, Tolerance
from dreamprm.data.readers import read_candidate_records
from dreamprm.data.record_table import write_records
from dreamprm.evaluation.bootstrap import Estimate, QuestionDraws
from dreamprm.evaluation.number_text import level_text, markdown_table, percent_interval
from dreamprm.files.atomic import remove_ended, write_atomically
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.distinct import require_distinct
from dreamprm.files.locks import owned_folder
from dreamprm.files.markdown import as_text
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.candidates import check_candidates, to_candidates
from dreamprm.formats.benchmarks.checked import BenchmarkCandidates, write_candidates
from dreamprm.formats.benchmarks.figures import Figure
from dreamprm.formats.benchmarks.predictions import PredictionReport
from dreamprm.formats.benchmarks.published_questions import read_questions
from dreamprm.formats.benchmarks.question_set import QuestionSet
from dreamprm.formats.benchmarks.registry import build_benchmark
from dreamprm.formats.benchmarks.scores import figures_of
from dreamprm.formats.image_folder import images_from
from dreamprm.generators.cached_generator import cached_generator

if TYPE_CHECKING:
    from dreamprm.evaluation.benchmark_settings import BenchmarkConfig


def run_benchmark(config: BenchmarkConfig) -> None:
    """Read the questions, check the answers, write records and figures, and print a summary.

    Without predictions or candidates, only the question records are written, for `dreamprm sample`.

    Raises:
        UserError, DataError: those of `read_questions`, `to_candidates` and `check_candidates`.
    """
    folder = Path(config.output)
    require_folder(folder)
    with owned_folder(folder):
        _benchmark(config, folder)


def _benchmark(config: BenchmarkConfig, folder: Path) -> None:
    benchmark = build_benchmark(config.name, **config.settings)
    remove_ended(folder)
    images: Any = config.images  # the schema has checked it
    on_error: Any = config.on_error  # the schema has checked it
    tolerance, report = Tolerance(on_error, config.max_bad_fraction), ReadReport()
    require_distinct([config.questions, *config.predictions], "questions and predictions")
    questions = read_questions(
        benchmark,
        config.questions,
        tolerance=tolerance,
        report=report,
        images=images,
        image_root=config.image_root,
        allow_outside=config.allow_outside,
        allow_urls=config.allow_urls,
        image_folder=folder / "images",
        split=config.split,
        limit=config.limit,
    )
    for line in report.lines():
        print(f"{config.questions}: {line}")
    count = write_records(folder / "questions.jsonl", (images_from(one.record, folder) for one in questions))
    print(f"wrote {count} question records to {folder / 'questions.jsonl'}")
    if config.images == "ignore":
        print(f"images=ignore: the {count} question records are written without images")
    if not config.predictions and config.candidates is None:
        return
    candidates = _candidates(config, benchmark, questions, tolerance)
    for name in ("scores.json", "scores.md"):
        (folder / name).unlink(missing_ok=True)  # figures of earlier candidates
    # The images of given candidates are not looked up.
    checked = config.candidates is None
    count = write_candidates(folder / "candidates.jsonl", candidates, images_checked=checked)
    print(f"wrote {count} candidate records to {folder / 'candidates.jsonl'}")
    for line in [*candidates.report.lines(), *candidates.report.file_lines()]:
        print(line)
    listed = candidates.report.flags.write(folder / "disagreements.jsonl")
    if listed is not None:
        print(listed)
    figures, unanswered = {}, {}
    for generator, outcomes in candidates.outcomes().items():
        missing = [one.record.id for one in questions if one.record.id not in outcomes]
        bad = sum(one.bad for one in candidates.report.files.values())
        if len(missing) > bad and config.incomplete == "error":
            raise DataError(
                f"{generator} answers {len(outcomes)} of {len(questions)} questions, not {missing[0]!r}; "
                "set incomplete=keep to count unanswered questions as wrong"
            )
        unanswered[generator] = len(missing)
        figures[generator] = scores_with_intervals(
            benchmark,
            questions,
            dict.fromkeys(missing, 0.0) | outcomes,
            seed=config.seed,
            level=config.level,
            resamples=config.resamples,
        )
    content = {
        "benchmark": benchmark.title,
        "headline": benchmark.headline,
        "questions": len(questions),
        "steps": {path: one.to_json() for path, one in candidates.report.steps.items()},
        "own_flags": {path: dict(one) for path, one in candidates.report.flags.counts.items()},
        "left_out": report.bad + report.without + sum(one.bad for one in candidates.report.files.values()),
        "generators": {
            generator: {
                "counts": dict(candidates.report.verdicts[generator]),
                "unanswered": unanswered[generator],
                "figures": {name: [one.value, one.low, one.high] for name, one in found.items()},
            }
            for generator, found in figures.items()
        },
        "config": as_dict(config),
        "version": __version__,
    }
    write_atomically(folder / "scores.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_atomically(
        folder / "scores.md",
        scores_page(
            benchmark,
            len(questions),
            figures,
            unanswered,
            level=config.level,
            undecided={name: counts["undecided"] for name, counts in candidates.report.verdicts.items()},
        ),
    )
    for generator, found in figures.items():
        shown = found[benchmark.headline]
        print(f"{generator}: {benchmark.headline} {shown.value:.1%} [{shown.low:.1%}, {shown.high:.1%}]")


@dataclass(frozen=True)
class Scored:
    """A figure with its interval, all as fractions.

    Attributes:
        value: the figure.
        low, high: ends of the bootstrap interval.
    """

    value: float
    low: float
    high: float


def scores_with_intervals(
    benchmark: Benchmark,
    questions: QuestionSet,
    outcomes: Mapping[str, float],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> dict[str, Scored]:
    """The benchmark's figures with percentile bootstrap intervals over questions (WeMath: groups of them).

    Args:
        benchmark, questions, outcomes: as in `figures_of`.
        seed, level, resamples: of the bootstrap.

    Raises:
        DataError, UserError: as `figures_of`.
        ValueError: resamples < 1, or a level outside (0, 1).
    """
    figures = figures_of(benchmark, questions, outcomes)
    bounds = intervals(figures, seed=seed, level=level, resamples=resamples)
    return {name: Scored(float(figures[name].value()), *bounds[name]) for name in bounds}


def intervals(
    figures: Mapping[str, Figure],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of all figures, from the same draws of units with replacement.

    Draws in which a figure's denominator is 0 are left out for that figure.

    Args:
        figures: over the same units.
        seed: of the draws.
        level: share of the draws inside the interval, in (0, 1).
        resamples: number of draws, >= 1.

    Returns:
        (lo, hi) by name; a figure without a value has no entry.

    Raises:
        ValueError: resamples < 1, or a level outside (0, 1).
    """
    draws = QuestionDraws(len(next(iter(figures.values())).parts[0][0]), seed, resamples)
    result: dict[str, tuple[float, float]] = {}
    for name, figure in figures.items():
        value = float(figure.value())
        if not np.isnan(value):
            result[name] = Estimate(value, draws.each(figure.value)).interval(level)
    return result


def scores_page(
    benchmark: Benchmark,
    questions: int,
    figures: Mapping[str, Mapping[str, Scored]],
    unanswered: Mapping[str, int],
    *,
    undecided: Mapping[str, int],
    level: float,
) -> str:
    """The figures as Markdown tables: those of the whole benchmark, then those of its groups.

    Args:
        benchmark: the benchmark.
        questions: number of questions.
        figures: by generator and name.
        unanswered: by generator, the number of questions that count as wrong because they have no answer.
        undecided: by generator, the number of answers that count as wrong because they could not be judged.
        level: of the intervals.
    """
    # Names of generators and groups come from files.
    figures = {
        as_text(name): {as_text(n): one for n, one in found.items()} for name, found in figures.items()
    }
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    whole = [benchmark.headline, *(n for n in names if "/" not in n and n != benchmark.headline)]
    lines = [
        f"# {benchmark.title}",
        "",
        f"{questions} questions; rules: {benchmark.rules}; in %, with {level_text(level)} bootstrap "
        f"intervals over {benchmark.unit}.",
        "",
    ]
    lines += [
        f"{as_text(generator)}: {count} questions without an answer count as wrong."
        for generator, count in unanswered.items()
        if count
    ]
    lines += [
        f"{as_text(generator)}: {count} answers are undecided and count as wrong."
        for generator, count in undecided.items()
        if count
    ]
    for title, rows in (("Figures", whole), ("By group", [name for name in names if "/" in name])):
        if rows:
            cells = [[name, *(_cell(found.get(name)) for found in figures.values())] for name in rows]
            lines += [f"## {title}", "", *markdown_table(["figure", *figures], cells), ""]
    return "\n".join(lines)


def _cell(figure: Scored | None) -> str:
    if figure is None:
        return "-"
    return percent_interval(figure.value, (figure.low, figure.high))


def _candidates(
    config: BenchmarkConfig, benchmark: Benchmark, questions: QuestionSet, tolerance: Tolerance
) -> BenchmarkCandidates:
    with ExitStack() as stack:
        judge = None
        if config.judge.name is not None:
            judge = stack.enter_context(
                cached_generator(
                    config.judge.name, Path(config.output) / "judge.jsonl", say=print, **config.judge.settings
                )
            )
        if config.candidates is not None:
            # The images are not used here.
            report = PredictionReport()
            reading: dict[str, Any] = {
                "allow_no_image": True,
                "missing_image": "keep",
                "on_error": tolerance.on_error,
                "max_bad_fraction": tolerance.max_bad_fraction,
                "report": report,
            }
            records = read_candidate_records(config.candidates, **reading)
            checked = check_candidates(benchmark, questions, records, judge=judge, file=config.candidates)
            held = checked.report.files.setdefault(config.candidates, report)
            report.not_chosen |= held.not_chosen
            checked.report.files[config.candidates] = report
            return checked
        # The schema has checked each against its choices.
        choices: dict[str, Any] = {
            "outcomes": config.outcomes,
            "unflagged": config.unflagged,
            "empty": config.empty,
            "incomplete": config.incomplete,
            "other_questions": config.other_questions,
        }
        return to_candidates(
            benchmark,
            questions,
            config.predictions,
            judge=judge,
            use_extracted=config.use_extracted,
            response_field=config.response_field,
            tolerance=tolerance,
            split=config.steps,
            **choices,
        )
