"""The commands `dreamprm sample` and `dreamprm label`, which turn questions into records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dreamprm.answers import CHECKERS, Checker, build_checker
from dreamprm.config.errors import UserError
from dreamprm.config.loading import changed_keys, load_config, saved_versions
from dreamprm.data.image_notes import ImageNotes, ImageSummary
from dreamprm.data.question_reader import open_questions, share
from dreamprm.data.read_report import ReadReport
from dreamprm.data.records import QuestionRecord
from dreamprm.files.atomic import remove_ended, save_config, write_atomically
from dreamprm.files.content import FileDigests, changed_parts
from dreamprm.files.disk_errors import require_folder
from dreamprm.generators import SERVING, Generator, Sampling, build_generator
from dreamprm.generators.cached_generator import cached_generator
from dreamprm.generators.registry import generator_identity
from dreamprm.labelling.jobs import Instructions, candidate_chain, label_job, sample_job
from dreamprm.labelling.journal import Journal
from dreamprm.labelling.outputs import LabelCounts, Written, write_candidates, write_meta, write_steps
from dreamprm.labelling.question_files import open_candidates
from dreamprm.labelling.replies import ReplyLimits
from dreamprm.labelling.rollout_content import Contents
from dreamprm.labelling.rollouts import build_method
from dreamprm.labelling.scheduler import Scheduler, Task
from dreamprm.labelling.settings import LabelConfig, shard_of
from dreamprm.labelling.status import LabelStatus, describe_summary

# What may differ between a run and its resumption, because it does not affect the rollouts.
MAY_CHANGE = (
    *("output", "log", "max_failed_fraction", "max_undecided_fraction", "undecided_after", "older_rollouts"),
    *("questions", "sample", "label", "answers.undecided"),
)


def run_sample(config: LabelConfig) -> None:
    """`dreamprm sample`: chains of thought for every question, as candidate or meta records.

    Raises:
        UserError: a problem with the configuration, the data, the generator or the output folder.
    """
    if not config.questions.files:
        raise UserError("questions.files must name at least one file of question records, got []")
    require_folder(config.output)
    reports: list[ReadReport] = []
    questions = open_questions(
        config.questions, say=_say, truncated_image=_truncated_image(config), reports=reports
    )
    questions = share(questions, config.questions, config.sample.shard)
    with _run(config, "samples", config.sample.shard, reports) as run:
        job = partial(sample_job, instructions=run.instructions, n=config.sample.n)
        tasks = [_task(question, run, partial(job, question)) for question in questions]
        written = Written(run.folder)

        def write(question: QuestionRecord, sampled: Any) -> None:
            if config.sample.form == "meta":
                write_meta(written, question, sampled)
            else:
                write_candidates(written, question, sampled, generator=_name(config))

        run.finish(tasks, write, written, config.sample.form)


def run_label(config: LabelConfig) -> None:
    """`dreamprm label`: Monte-Carlo labels of every step, as step records.

    Raises:
        UserError: a problem with the configuration, the data, the generator or the output folder.
    """
    require_folder(config.output)
    reports: list[ReadReport] = []
    reading: dict[str, Any] = {"say": _say, "truncated_image": _truncated_image(config), "reports": reports}
    questions = open_questions(config.questions, **reading)
    given = None
    if config.label.candidates is not None:
        questions, given = open_candidates(config.label.candidates, config.questions, questions, **reading)
    questions = share(questions, config.questions, config.label.shard)
    method = build_method(config.label.method, **config.label.settings)
    if method.takes_chains_for_own and given is not None:
        writers = {candidate.generator for one in given.values() for candidate in one.candidates}
        if writers != {_name(config)}:
            _say(
                f"not all CoTs of {config.label.candidates} were written by {_name(config)}, which continues "
                f"them, but label.method={config.label.method} assumes that they were: set "
                "label.estimate=share"
            )
    with _run(config, "rollouts", config.label.shard, reports) as run:

        def start(question: QuestionRecord) -> Any:
            chains = (
                None
                if given is None
                else [
                    candidate_chain(
                        candidate, split=config.split, expected_steps=run.instructions.expected_steps
                    )
                    for candidate in given[question.id].candidates
                ]
            )
            return label_job(question, run.instructions, method, cots=config.label.cots, chains=chains)

        tasks = [_task(question, run, partial(start, question)) for question in questions]
        written, counts = Written(run.folder), LabelCounts()

        def write(question: QuestionRecord, labelled: Any) -> None:
            write_steps(written, counts, question, labelled, run.instructions)

        def cost() -> dict[str, Any]:
            steps = max(counts.steps, 1)
            return {
                "method": {"name": config.label.method, **config.label.settings},
                "labelled_steps": counts.steps,
                "rollouts_per_labelled_step": round(counts.rollouts / steps, 4),
                "tokens_per_labelled_step": round(counts.tokens / steps, 2),
            }

        run.finish(tasks, write, written, "steps", cost)


@dataclass
class _Run:
    """The parts of one run."""

    folder: Path
    part: str
    generator: Generator
    sampling: Sampling
    checker: Checker
    judge: Generator | None
    instructions: Instructions
    journal: Journal
    status: LabelStatus
    seed: int
    max_failed_fraction: float
    limits: ReplyLimits
    contents: Contents
    older_rollouts: bool
    images: ImageSummary

    def finish(
        self,
        tasks: list[Task[Any]],
        write: Callable[[QuestionRecord, Any], None],
        written: Written,
        name: str,
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Run the tasks; write the finished ones, even if an error or a signal ends the run."""
        scheduler = Scheduler(
            self.generator,
            self.sampling,
            self.checker,
            self.journal,
            self.status,
            seed=self.seed,
            max_failed_fraction=self.max_failed_fraction,
            judge=self.judge,
            contents=self.contents,
            older_rollouts=self.older_rollouts,
            limits=self.limits,
        )
        scheduler.prepare(tasks)  # outside: what it refuses leaves the records of earlier runs as they are
        try:
            for number, result in scheduler.run(tasks):
                write(tasks[number].question, result)
        finally:
            self.status.close()
            with _writing(self.folder):
                self._leave(tasks, written, name, more())
        replies = self.status.replies
        if (
            problem := replies.problem(replace(self.limits, after=1))
        ) is None or replies.total >= self.limits.after:
            return
        # Too few replies to have stopped the run before its end.
        if replies.undecided == replies.total > 1:
            raise UserError(problem)
        _say(f"warning: {problem}")

    def _leave(self, tasks: list[Task[Any]], written: Written, name: str, more: dict[str, Any]) -> None:
        path = self.folder / f"{name}{self.part}.jsonl"
        records = written.save(path, (task.question for task in tasks))
        summary = {
            **self.status.summary(),
            "cots": written.cots,
            "right": written.right,
            "malformed": dict(written.malformed.most_common()),
            "steps": written.steps.to_json(),
            "left_out": {reason: count for reason, count in written.left_out.items() if count},
            "generator": self.generator.describe(),
            **({"images": self.images.to_json()} if self.images.lines() else {}),
            **more,
        }
        write_atomically(
            self.folder / f"summary-{name}{self.part}.json",
            json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
        )
        _say(f"{describe_summary(summary)}\n{path}: {records:,} records")
        if written.steps:
            _say(f"{path}: {written.steps.line('CoTs')}")
        if self.images.lines():
            _say("images of questions: " + "\n".join(self.images.lines()))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn system errors while writing files into user errors."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error}); the rollouts are kept in the journal there: "
            "fix the cause, then run the same command again"
        ) from error


@contextmanager
def _run(config: LabelConfig, journal: str, shard_text: str, reports: Sequence[ReadReport]) -> Iterator[_Run]:
    folder = Path(config.output)
    first, of = shard_of(shard_text)
    part = "" if of == 1 else f"-{first:05d}-of-{of:05d}"
    with ExitStack() as stack:
        generator = build_generator(config.generator.name, **config.generator.settings)
        stack.callback(generator.close)
        checker, judge = _checker(config, folder / f"judge-{journal}{part}.jsonl", stack)
        held = stack.enter_context(Journal(folder / f"{journal}{part}.jsonl"))
        remove_ended(folder)
        digests = FileDigests()
        files = {
            f"{section}.{key}/{name}": digest
            for section, one in (("generator", generator), ("answers.judge", judge))
            for key, found in (one.contents(digests) if one is not None else {}).items()
            for name, digest in found.items()
        }
        path = folder / f"config-{journal}{part}.yaml"
        _same_run(config, path, files, started=held.path.stat().st_size > 0)
        status = LabelStatus(held, config.log.progress, every=config.log.every)
        stack.callback(status.close)
        yield _Run(
            folder,
            part,
            generator,
            Sampling(config.generator.temperature, config.generator.max_tokens, tuple(config.generator.stop)),
            checker,
            judge,
            Instructions(config.prompt, config.split, config.answers.undecided == "leave_out"),
            held,
            status,
            config.seed,
            config.max_failed_fraction,
            ReplyLimits(config.max_undecided_fraction, config.undecided_after),
            _contents(config, generator, judge, digests),
            config.older_rollouts == "reuse",
            ImageSummary.of(sum(report.rows for report in reports), reports, ImageNotes(), prefix=""),
        )


def _truncated_image(config: LabelConfig) -> str:
    """What the generator does with an image that is cut off."""
    return str(config.generator.settings.get("truncated_image", "error"))


def _checker(config: LabelConfig, replies: Path, stack: ExitStack) -> tuple[Checker, Generator | None]:
    judge = None
    if config.answers.judge.name is not None:
        # Rollouts of one question often end in the same answer, which is judged only once.
        judge = stack.enter_context(
            cached_generator(config.answers.judge.name, replies, say=_say, **config.answers.judge.settings)
        )
    checker = build_checker(config.answers.kind, judge=judge, **config.answers.settings)
    stack.callback(checker.close)
    return checker, judge


def _contents(
    config: LabelConfig, generator: Generator, judge: Generator | None, digests: FileDigests
) -> Contents:
    """What texts and verdicts of this run belong to, apart from the questions."""
    writes, answers = config.generator, config.answers
    defaults = CHECKERS.settings(answers.kind)
    checker: dict[str, Any] = {
        "kind": answers.kind,
        **{key: value for key, value in answers.settings.items() if value != defaults.get(key)},
    }
    if judge is not None:
        assert answers.judge.name is not None
        checker["judge"] = generator_identity(answers.judge.name, answers.judge.settings, judge, digests)
    return Contents(
        {
            **generator_identity(writes.name, writes.settings, generator, digests),
            "sampling": [writes.temperature, writes.max_tokens, writes.stop],
            "run_seed": config.seed,
        },
        checker,
        digests,
    )


def _same_run(config: LabelConfig, path: Path, files: Mapping[str, str | None], *, started: bool) -> None:
    """Refuse to resume with settings that change the rollouts; otherwise save this run's configuration.

    Files that a setting names count by what they hold, not by their path, from version 0.3 on.

    Args:
        files: digests by setting and file name, such as `generator.model/config.json`.
    """
    now = {name: str(digest) for name, digest in files.items()}
    if started and path.exists():
        before = load_config(LabelConfig, path)
        held = {name: value for name, value in saved_versions(path).items() if "/" in name}
        serving = tuple(f"{where}.{key}" for where in ("generator", "answers.judge") for key in SERVING)
        by_content = {name.partition("/")[0] for name in held} & {name.partition("/")[0] for name in now}
        changed = changed_keys(before, config, ignore=(*MAY_CHANGE, *serving, *by_content))
        listed = [f"{key} was {old!r}, is {new!r}" for key, (old, new) in changed.items()]
        if by_content:
            listed += changed_parts(held, now)
        if listed:
            raise UserError(
                f"{path.parent} holds rollouts made with other settings ({'; '.join(listed)}); choose "
                "another output or remove this one"
            )
    with _writing(path.parent):
        save_config(path, config, extra=now)


def _task(question: QuestionRecord, run: _Run, start: Callable[[], Any]) -> Task[Any]:
    return Task(question, run.instructions.prompt_of(question), start)


def _name(config: LabelConfig) -> str:
    return str(config.generator.settings.get("model", config.generator.name))


def _say(line: str) -> None:
    print(line, flush=True)
