"""The command `dreamprm search`, which turns questions into candidate records with a chosen chain."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dreamprm.answers import Checker, build_checker, check_all
from dreamprm.config.errors import UserError
from dreamprm.data.image_paths import vouch
from dreamprm.data.question_reader import open_questions, share
from dreamprm.data.records import Candidate, CandidateRecord, QuestionRecord, to_json
from dreamprm.files.atomic import remove_ended, save_config, write_atomically, write_lines_atomically
from dreamprm.files.content import FileDigests
from dreamprm.files.disk_errors import require_folder
from dreamprm.generators import Generator, build_generator
from dreamprm.generators.cached_generator import CachedGenerator, cached_generator
from dreamprm.generators.prompting import PROMPTS, expected_steps, question_text
from dreamprm.generators.registry import generator_identity
from dreamprm.runtime.process import prepare_process
from dreamprm.scorers.base import StepScorer
from dreamprm.scorers.local import LocalScorer
from dreamprm.scorers.opening import open_scorer, scorer_name
from dreamprm.search.chains import ChainReader
from dreamprm.search.driver import Cost, Driver, Found, Limits, SearchTask
from dreamprm.search.journal import SearchJournal
from dreamprm.search.methods import build_method
from dreamprm.search.search_status import SearchStatus, summary_lines
from dreamprm.search.settings import CHOSEN, SearchConfig
from dreamprm.search.suppliers import Completions, Scores

RECORDS = "candidates.jsonl"
JOURNAL = "journal.jsonl"
REPLIES = "critic.replies.jsonl"


def run_search(config: SearchConfig) -> None:
    """`dreamprm search`: search every question; write candidates.jsonl, journal.jsonl and summary.json.

    An interrupted run resumes from the journal and ends with the same records. Completions and scores there
    are used by any search that asks for the same, with another method or size as well.

    Raises:
        UserError: a problem with the configuration, the data, the generator, the scorer or the output folder.
    """
    prepare_process(config.threads)
    folder = Path(config.output)
    require_folder(folder)
    truncated = str(config.generator.settings.get("truncated_image", "error"))
    questions = share(
        open_questions(config.questions, say=_say, truncated_image=truncated), config.questions, "0/1"
    )
    with ExitStack() as stack:
        digests = FileDigests()
        generator = build_generator(config.generator.name, **config.generator.settings)
        stack.callback(generator.close)
        scorer = open_scorer(config.scorer, digests, replies=folder / REPLIES, say=_say)
        stack.callback(scorer.close)
        journal = stack.enter_context(SearchJournal(folder / JOURNAL))
        if isinstance(scorer, LocalScorer) and scorer.changed is not None and not journal.scores:
            raise UserError(scorer.changed)
        remove_ended(folder)
        save_config(folder / "config.yaml", config)
        status = SearchStatus(journal, config.log.progress, every=config.log.every)
        stack.callback(status.close)
        driver = _driver(config, generator, scorer, journal, digests, status)
        found = _searched(driver, [_task(config, question) for question in questions], config, status)
        status.close()
        checker, judge = _checker(config, folder, stack)
        written = _write(config, folder, questions, found, checker, judge)
    summary = {
        "method": {"name": config.method.name, **config.method.settings},
        "budget": dataclasses.asdict(config.budget),
        "aggregation": config.aggregation,
        "scorer": {"name": scorer_name(config.scorer, config.scorer_name), "gives": scorer.gives},
        "generator": generator.describe(),
        **status.summary(),
        **written.to_json(),
        "tokens_generated_now": driver.completions.sampled,
        "tokens_scored_now": driver.scores.read,
    }
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    _say("\n".join(summary_lines(summary)))
    _say(f"{folder / RECORDS}: {written.records:,} records")


def _driver(
    config: SearchConfig,
    generator: Generator,
    scorer: StepScorer,
    journal: SearchJournal,
    digests: FileDigests,
    status: SearchStatus,
) -> Driver:
    writes = config.generator
    return Driver(
        build_method(config.method.name, **config.method.settings),
        Completions(
            generator,
            journal,
            generator_identity(writes.name, writes.settings, generator, digests),
            digests,
            say=status.say,
        ),
        Scores(scorer, journal, digests),
        Limits(
            config.budget.n,
            config.budget.generated_tokens,
            writes.max_tokens,
            min(config.budget.step_tokens or writes.max_tokens, writes.max_tokens),
        ),
        temperature=writes.temperature,
        seed=config.seed,
        aggregation=config.aggregation,
        together=config.together,
    )


def _task(config: SearchConfig, question: QuestionRecord) -> SearchTask:
    return SearchTask(
        question,
        PROMPTS[config.prompt](question.question, question.options),
        question_text(question.question, question.options),
        ChainReader(
            question,
            config.split,
            expected_steps(config.prompt, config.split),
            config.budget.steps,
            tuple(config.generator.stop),
        ),
    )


def _searched(
    driver: Driver, tasks: Sequence[SearchTask], config: SearchConfig, status: SearchStatus
) -> dict[int, Found]:
    """The results by number of the question; failures are counted.

    Raises:
        UserError: too many questions failed.
    """
    status.begin(len(tasks))
    found: dict[int, Found] = {}
    for number, result in driver.run(tasks):
        if isinstance(result, Found):
            found[number] = result
            status.done(result)
            continue
        status.failed(tasks[number].question.id, str(result))
        if status.failures > config.max_failed_fraction * len(tasks):
            raise UserError(
                f"{status.failures} of {len(tasks)} questions failed, more than max_failed_fraction="
                f"{config.max_failed_fraction:g} allows; the last one, {tasks[number].question.id}: "
                f"{result}. What was sampled and scored is kept in {config.output}: fix the cause and run "
                "the same command again"
            )
    return found


def _checker(config: SearchConfig, folder: Path, stack: ExitStack) -> tuple[Checker, CachedGenerator | None]:
    answers, judge = config.answers, None
    if answers.judge.name is not None:
        judge = stack.enter_context(
            cached_generator(answers.judge.name, folder / "judge.jsonl", say=_say, **answers.judge.settings)
        )
    checker = build_checker(answers.kind, judge=judge, **answers.settings)
    stack.callback(checker.close)
    return checker, judge


@dataclass
class _Written:
    """What the records hold, in numbers."""

    records: int = 0
    candidates: int = 0
    unfinished: int = 0
    no_chain: int = 0
    right: int = 0
    undecided: int = 0
    at_limit: int = 0
    over_limit: int = 0
    cost: Counter[str] = field(default_factory=Counter)

    def add(self, found: Found, verdicts: Sequence[str]) -> None:
        """Count the result of one question, with a verdict on each of its chains."""
        self.at_limit += found.limit is not None
        self.over_limit += found.cost.over > 0
        self.cost.update(dataclasses.asdict(found.cost))
        if found.chosen is None:
            self.no_chain += 1
            return
        self.records += 1
        self.candidates += len(found.chains)
        self.unfinished += not found.chains[found.chosen].complete
        self.right += verdicts[found.chosen] == "right"
        self.undecided += verdicts[found.chosen] == "undecided"

    def to_json(self) -> dict[str, Any]:
        """Totals, and means per question."""
        questions = self.records + self.no_chain
        per = {name: round(total / max(questions, 1), 3) for name, total in self.cost.items()}
        return {
            "accuracy": self.right / questions if questions else None,
            "right": self.right,
            "undecided": self.undecided,
            "candidates": self.candidates,
            "without_chain": self.no_chain,
            "chosen_unfinished": self.unfinished,
            "questions_at_token_limit": self.at_limit,
            "questions_over_token_limit": self.over_limit,
            "total": dict.fromkeys((one.name for one in dataclasses.fields(Cost)), 0) | dict(self.cost),
            "per_question": per,
        }


def _write(
    config: SearchConfig,
    folder: Path,
    questions: Sequence[QuestionRecord],
    found: Mapping[int, Found],
    checker: Checker,
    judge: Generator | None,
) -> _Written:
    """Judge every chain, and write the records in the order of the questions."""
    calls = [
        partial(checker.check, chain.text, questions[number])
        for number, one in sorted(found.items())
        for chain in one.chains
    ]
    verdicts = iter([judgement.verdict for judgement in check_all(calls, judge=judge)])
    written = _Written()
    name = scorer_name(config.scorer, config.scorer_name)

    def lines() -> Iterator[str]:
        for number, one in sorted(found.items()):
            judged = [next(verdicts) for _ in one.chains]
            written.add(one, judged)
            if one.chosen is not None:
                row = _row(config, folder, questions[number], one, judged, name)
                yield json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"

    write_lines_atomically(folder / RECORDS, lines())
    vouch(folder / RECORDS)
    return written


def _row(
    config: SearchConfig,
    folder: Path,
    question: QuestionRecord,
    found: Found,
    verdicts: Sequence[str],
    scorer: str,
) -> dict[str, Any]:
    """A candidate record with, under `search`, what was chosen and what it cost."""
    generator = str(config.generator.settings.get("model", config.generator.name))
    record = CandidateRecord(
        question_text(question.question, question.options),
        # Relative to the file's folder, so that both can be moved together.
        tuple(os.path.relpath(image, folder) for image in question.images),
        question.domain,
        question.answer,
        tuple(
            Candidate(
                chain.text,
                chain.steps,
                chain.final_answer,
                None if verdict == "undecided" else verdict == "right",
                generator,
                {scorer: chain.log_odds, CHOSEN: (float(number == found.chosen),)},
            )
            for number, (chain, verdict) in enumerate(zip(found.chains, verdicts, strict=True))
        ),
        question.id,
    )
    return to_json(record) | {
        "search": {
            "method": config.method.name,
            "chosen": found.chosen,
            **dataclasses.asdict(found.cost),
            "limit": found.limit,
            "course": [list(point) for point in found.course],
        }
    }


def _say(line: str) -> None:
    print(line, flush=True)
