"""`dreamprm evaluate`: scored candidates in; tables, per-question picks and plots out."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

from dreamprm.answers import Checker, Judgement, Verdict, build_checker, check_all
from dreamprm.config.errors import UserError
from dreamprm.config.loading import as_dict, versions
from dreamprm.evaluation.comparison import Evaluation
from dreamprm.evaluation.drawn_examples import Picks, draw_examples, write_examples
from dreamprm.evaluation.given_names import check_given_names
from dreamprm.evaluation.packed import Mapped, PackedRecords
from dreamprm.evaluation.page import evaluation_page, notes
from dreamprm.evaluation.scored_suite import Asked, Check, ScoredSuite, open_scored_suite, shared_questions
from dreamprm.evaluation.settings import EvaluateConfig, SuiteFiles
from dreamprm.files.append_only import checked_text
from dreamprm.files.atomic import (
    remove_ended,
    save_config,
    write_atomically,
    write_lines_atomically,
)
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.distinct import require_distinct
from dreamprm.files.locks import owned_folder
from dreamprm.generators.cached_generator import CachedGenerator, cached_generator

Suites = dict[str, ScoredSuite]
_VERDICTS = {verdict: Judgement(verdict, None, "") for verdict in get_args(Verdict)}


def run_evaluate(config: EvaluateConfig) -> None:
    """`dreamprm evaluate`: which selector is best on the suites, and how certain that is.

    Writes to the output folder, each file whole or not at all: evaluation.json (every figure),
    evaluation.md (the tables), per_question.jsonl (which candidate each selector picks), examples.jsonl and
    examples/ (questions on which selectors disagree, and their images), config.yaml, plots/.

    Raises:
        UserError: the configuration or the records do not allow the evaluation, or another process writes to
            the folder.
    """
    folder = Path(config.output)
    require_folder(folder)
    with owned_folder(folder):
        _evaluate(config, folder)


def _evaluate(config: EvaluateConfig, folder: Path) -> None:
    for what, chosen in (("suites", config.suites), ("development", config.development)):
        require_distinct([path for file in chosen.values() for path in (file.path, *file.joined)], what)
    check_given_names(config)
    with ExitStack() as stack:
        check = _check(config, stack)
        suites = _open(config, config.suites, check)
        development = _open(config, config.development, check)
    _refuse_test_in_development(suites, development)
    evaluation = Evaluation(config, suites, development)
    result: dict[str, Any] = {
        "suites": {name: _facts(config.suites[name], suite) for name, suite in suites.items()},
        "development": {name: _facts(config.development[name], suite) for name, suite in development.items()},
        "seed": config.seed,
        "resamples": config.resamples,
        "level": config.level,
        "mean_over": config.mean_over or list(suites),
        **evaluation.figures(),
    }
    picks = {name: selection.all_picks() for name, selection in evaluation.selections.items()}
    compared = [(row["method"], row["baseline"]) for row in result["differences"]]
    agreements, drawn = draw_examples(evaluation, picks, compared)
    result["examples"] = [dataclasses.asdict(agreement) for agreement in agreements]
    result |= {"notes": notes(result), "config": as_dict(config), "versions": versions()}
    for place in (folder, folder / "plots"):
        remove_ended(place)
    # Written last: if it exists, the evaluation is complete.
    (folder / "evaluation.json").unlink(missing_ok=True)
    save_config(folder / "config.yaml", config)
    # ASCII: an answer may hold half of a surrogate pair, which UTF-8 cannot encode.
    lines = (json.dumps(line) + "\n" for line in _per_question(evaluation, picks))
    write_lines_atomically(folder / "per_question.jsonl", lines)
    page = evaluation_page(result)
    write_atomically(folder / "evaluation.md", page)
    write_examples(folder, evaluation, picks, drawn)
    _write_plots(folder, result)
    write_atomically(
        folder / "evaluation.json", checked_text(json.dumps(result, indent=2, ensure_ascii=False))
    )
    _say(page.partition("\n## Accuracy over n")[0])
    _say(
        f"\n{folder}: evaluation.md, evaluation.json, per_question.jsonl, "
        f"{'examples.jsonl, ' if config.examples.count else ''}plots/"
    )


def _open(
    config: EvaluateConfig,
    files: Mapping[str, SuiteFiles],
    check: Check | None,
) -> Suites:
    return {
        name: open_scored_suite(
            [file.path, *file.joined],
            questions=file.questions,
            check=check,
            uneven=config.uneven == "own",
            on_error=cast(Literal["error", "skip"], config.on_error),
            max_bad_fraction=config.max_bad_fraction,
            say=_say,
        )
        for name, file in files.items()
    }


def _check(config: EvaluateConfig, stack: ExitStack) -> Check | None:
    """A function that judges answers, or None without a checker.

    The checker is built on first use, as a judge may take several gigabytes.

    A judge's replies are kept in OUTPUT/judge.jsonl, so that running the same command again resumes.
    """
    answers = config.answers
    if answers is None:
        return None
    made: list[tuple[Checker, CachedGenerator | None]] = []

    def check(asked: Sequence[Asked]) -> list[Judgement]:
        if not made:
            judge: CachedGenerator | None = None
            if answers.judge.name is not None:
                judge = stack.enter_context(
                    cached_generator(
                        answers.judge.name,
                        Path(config.output) / "judge.jsonl",
                        say=_say,
                        **answers.judge.settings,
                    )
                )
            made.append((build_checker(answers.kind, judge=judge, **answers.settings), judge))
            stack.callback(made[0][0].close)
        checker, asks = made[0]
        calls = Mapped(lambda one: partial(_verdict, checker, *one), asked)
        return check_all(calls, judge=asks)

    return check


def _verdict(checker: Checker, *asked: Any) -> Judgement:
    """A checker's verdict without the reason, of which there may be millions."""
    return _VERDICTS[checker.check(*asked).verdict]


def _refuse_test_in_development(suites: Suites, development: Suites) -> None:
    for name, suite in suites.items():
        for other, held in development.items():
            shared = shared_questions(suite, held)
            if shared:
                raise UserError(
                    f"{len(shared)} questions of test suite {name} are also in development suite {other} "
                    f"(the first: {shared[0]!r}); what is picked on test answers cannot be judged by them: "
                    "remove them from one of the two"
                )


def _facts(files: SuiteFiles, suite: ScoredSuite) -> dict[str, Any]:
    counts = Counter(suite.sizes)
    return {
        "files": [files.path, *files.joined],
        "questions": len(suite.records),
        "candidates": {str(n): counts[n] for n in sorted(counts)},
        "right": sum(earned == 1 for row in suite.correct for earned in row),
        "without_answer": sum(vote is None for row in suite.votes for vote in row),
        "graded": suite.graded,
        "judged": dict(suite.judged),
        "left_out": suite.left_out,
        "warnings": list(suite.warnings),
    }


def _per_question(evaluation: Evaluation, picks: Mapping[str, Picks]) -> Iterator[dict[str, Any]]:
    for name, suite in evaluation.suites.items():
        selection = evaluation.selections[name]
        records = suite.records
        heads = (
            zip(records.ids, records.answers, records.generators, strict=True)
            if isinstance(records, PackedRecords)
            else ((one.id, one.answer, tuple(c.generator for c in one.candidates)) for one in records)
        )
        for question, ((id, answer, generators), row) in enumerate(zip(heads, picks[name], strict=True)):
            yield {
                "suite": name,
                "id": id,
                "answer": answer,
                "correct": [earned if 0 < earned < 1 else bool(earned) for earned in suite.correct[question]],
                "votes": list(suite.votes[question]),
                "generators": list(generators),
                "scores": {
                    scorer: [round(value, 6) for value in scores[question].tolist()]
                    for scorer, scores in selection.scores.items()
                },
                "picks": row,
            }


def _write_plots(folder: Path, result: Mapping[str, Any]) -> None:
    """Plot accuracy over N (mean and by suite) and with all N. Weighted votes are only in the tables."""
    from dreamprm.evaluation.plots import best_of_n as accuracy
    from dreamprm.evaluation.plots import style

    shown, level = accuracy.evaluation_figures(result), result["level"]
    figures = {
        "accuracy_over_n": accuracy.mean_over_n(shown, level=level),
        "suites_over_n": accuracy.suites_over_n(shown),
        "best_of_n": accuracy.suites_with_all(shown, level=level),
    }
    (folder / "plots").mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = folder / "plots" / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)  # of an earlier evaluation
        else:
            write_atomically(path, style.png(figure))


def _say(line: str) -> None:
    print(line, flush=True)
