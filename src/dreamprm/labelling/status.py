"""The progress of a run: counts, a bar or lines while it runs, and a summary at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from dreamprm.labelling.journal import Journal, Rollout
from dreamprm.labelling.replies import Replies, identical_warning, reply_lines
from dreamprm.runtime.progress import CountingDisplay, duration

LISTED = 20
"""How many failed questions the summary lists; all are counted."""


class LabelStatus(CountingDisplay):
    """Counts what happens and shows it.

    Args:
        journal: its rollouts at the start were sampled before.
        mode: "bar", "lines", "none", or "auto": a bar on a terminal, otherwise lines.
        every: seconds between two lines.
        stream: where to write; standard error by default.
        clock: returns seconds, increasing; for tests.
    """

    def __init__(
        self,
        journal: Journal,
        mode: str = "auto",
        *,
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(mode, unit="question", every=every, stream=stream, clock=clock)
        self._live = 0  # finished questions not entirely in the journal; the rate is computed from them
        self.finished = 0
        self.failures = 0
        self.reasons: Counter[str] = Counter()
        self.failed_questions: list[tuple[str, str]] = []
        self.before = len(journal)
        self.reused: int | None = None  # questions with rollouts in the journal; None: it was empty
        self.unused = 0
        self.rollouts = 0
        self.tokens = 0
        self.unfinished = 0
        self.verdicts: Counter[str] = Counter()
        self.replies = Replies()

    def begin(self, total: int, *, before: int = 0, label: str | None = None) -> None:
        """Start a run with this many questions."""
        super().begin(total, before=before, label=label)
        if self.mode == "lines" and self.before:
            self.say(f"resuming: {self.before:,} rollouts are already in the journal")

    def found(self, questions: int, unused: int) -> None:
        """Say how much of the journal's content is asked for.

        Args:
            questions: how many have rollouts there.
            unused: number of CoTs there whose content no question has.
        """
        self.reused, self.unused = questions, unused
        self.say(_journal_told(questions, self.total, unused))

    def sampled(self, rollout: Rollout) -> None:
        """Report that a rollout was sampled and written; may be called from any thread."""
        with self._mutex:
            self.rollouts += 1
            self.tokens += rollout.tokens
            self.unfinished += not rollout.finished
            self.verdicts[rollout.verdict or "unjudged"] += 1
            self.replies.add(rollout)
            self.advance()

    def compared(self, texts: Sequence[str]) -> None:
        """Report rollouts that were asked for together; says so if the first ones are all identical."""
        before = self.replies.early_warning()
        self.replies.compare(texts)
        if self.replies.early_warning() and not before:
            self.say(identical_warning(self.replies.identical, self.replies.groups))

    def done(self, *, drew: bool) -> None:
        """Report that a question is done; `drew`: not all of its rollouts were in the journal."""
        with self._mutex:
            self.finished += 1
            self._live += drew
            self.advance(1)

    def failed(self, question: str, reason: str) -> None:
        """Report that a question's request failed; the first failure of each reason is shown at once."""
        if reason not in self.reasons and len(self.reasons) < LISTED:
            self.say(f"question {question} failed: {reason}")
        with self._mutex:
            self.failures += 1
            self._live += 1
            self.reasons[reason] += 1
            if len(self.failed_questions) < LISTED:
                self.failed_questions.append((question, reason))
            self.advance(1)

    def summary(self) -> dict[str, Any]:
        """What happened in this run, as JSON values."""
        return {
            "questions": {"total": self.total, "done": self.finished, "failed": self.failures},
            "failures": dict(self.reasons.most_common(LISTED)),
            "failed_questions": dict(self.failed_questions),
            "questions_in_journal": self.reused,
            "cots_not_used": self.unused,
            "rollouts_before": self.before,
            "rollouts_sampled": self.rollouts,
            "tokens_sampled": self.tokens,
            "cut_off": self.unfinished,
            "verdicts": dict(self.verdicts),
            "replies": self.replies.to_json(),
            "seconds": round(self.seconds, 2),
        }

    def _counts(self) -> str:
        failed = f"{self.failures:,} failed  " if self.failures else ""
        share = self.replies.share()
        return f"{failed}{self.rollouts:,} rollouts  {self.tokens:,} tokens" + (f"  {share}" if share else "")

    def _line(self) -> list[str]:
        ended = self.finished + self.failures
        return [
            f"questions {ended:,}/{self.total:,}",
            self._counts(),
            duration(self.seconds),
            self._left(self._live, self.total - ended),
        ]


def _journal_told(questions: int, total: int, unused: int) -> str:
    told = (
        f"{questions:,} of {total:,} questions had rollouts of their content in the journal; "
        f"{total - questions:,} were new or had changed"
    )
    return told + (f"; {unused:,} CoTs there are of other content and were not used" if unused else "")


def describe_summary(summary: Mapping[str, Any]) -> str:
    """The summary of a run as a few lines of text."""
    questions = summary["questions"]
    lines = [
        f"{questions['done']:,} of {questions['total']:,} questions done, {questions['failed']:,} failed; "
        f"{summary['rollouts_sampled']:,} rollouts ({summary['rollouts_before']:,} sampled before), "
        f"{summary['tokens_sampled']:,} tokens, {duration(summary['seconds'])}"
    ]
    if summary.get("questions_in_journal") is not None:
        lines.append(
            _journal_told(summary["questions_in_journal"], questions["total"], summary["cots_not_used"])
        )
    if "labelled_steps" in summary:
        lines.append(
            f"{summary['cots']:,} CoTs, {summary['right']:,} right; {summary['labelled_steps']:,} labelled "
            f"prefixes that are not whole CoTs, at {summary['rollouts_per_labelled_step']:.2f} "
            f"rollouts and {summary['tokens_per_labelled_step']:.0f} tokens each"
        )
    elif "cots" in summary:
        lines.append(f"{summary['cots']:,} CoTs, {summary['right']:,} right")
    if summary.get("malformed"):
        named = ", ".join(f"{name} {count:,}" for name, count in summary["malformed"].items())
        lines.append(f"malformed CoTs (kept and marked): {named}")
    if summary.get("left_out"):
        named = ", ".join(f"{count:,} {reason}" for reason, count in summary["left_out"].items())
        lines.append(f"not written: {named}")
    lines += reply_lines(summary["replies"]) if "replies" in summary else []
    lines += [f"failed: {count:,} x {reason}" for reason, count in summary["failures"].items()]
    return "\n".join(lines)
