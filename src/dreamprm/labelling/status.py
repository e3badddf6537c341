"""How far a run is: counts, a bar or lines while it runs, and the summary at its end."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from tqdm import tqdm

from dreamprm.config.choices import PROGRESS_MODES
from dreamprm.labelling.journal import Journal, Rollout
from dreamprm.runtime.progress import duration, redraws

LISTED = 20
"""How many failed questions are named in the summary; all are counted."""


class Status:
    """Counts what happens and shows it.

    Args:
        journal: what it holds at the start was sampled before.
        mode: "bar", "lines", "none", or "auto": bar on a terminal, else lines.
        every: seconds between two lines.
        stream: where to write; standard error by default.
        clock: seconds, rising; for tests.
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
        assert mode in PROGRESS_MODES
        self._stream = sys.stderr if stream is None else stream
        self._mode = ("bar" if redraws(self._stream) else "lines") if mode == "auto" else mode
        self._every, self._clock = every, clock
        self._mutex = threading.Lock()
        self._bar: tqdm | None = None
        self._began = self._shown = clock()
        self._live = 0  # questions that ended and were not all in the journal: what the rate is taken from
        self.total = 0
        self.finished = 0
        self.failures = 0
        self.reasons: Counter[str] = Counter()
        self.failed_questions: list[tuple[str, str]] = []
        self.before = len(journal)
        self.rollouts = 0
        self.tokens = 0
        self.unfinished = 0
        self.verdicts: Counter[str] = Counter()

    def begin(self, total: int) -> None:
        """The run has so many questions."""
        self.total = total
        self._began = self._shown = self._clock()
        if self._mode == "bar":
            # Without miniters=0 it would draw nothing new before a question ends.
            self._bar = tqdm(total=total, file=self._stream, unit="question", dynamic_ncols=True, miniters=0)
        elif self._mode == "lines" and self.before:
            self._write(f"going on: {self.before:,} rollouts are there already")

    def sampled(self, rollout: Rollout) -> None:
        """A rollout was sampled and written; from any thread."""
        with self._mutex:
            self.rollouts += 1
            self.tokens += rollout.tokens
            self.unfinished += not rollout.finished
            self.verdicts[rollout.verdict or "unjudged"] += 1
            self._show()

    def done(self, *, drew: bool) -> None:
        """A question has its result; `drew`: not all of it was in the journal."""
        with self._mutex:
            self.finished += 1
            self._live += drew
            self._show(ended=1)

    def failed(self, question: str, reason: str) -> None:
        """A question's request came to nothing; the first of each reason is told at once."""
        if reason not in self.reasons and len(self.reasons) < LISTED:
            self.say(f"question {question} failed: {reason}")
        with self._mutex:
            self.failures += 1
            self._live += 1
            self.reasons[reason] += 1
            if len(self.failed_questions) < LISTED:
                self.failed_questions.append((question, reason))
            self._show(ended=1)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar; nothing with mode "none"."""
        with self._mutex:
            if self._bar is not None:
                tqdm.write(line, file=self._stream)
            elif self._mode == "lines":
                self._write(line)

    def close(self) -> None:
        """Leave the last state on the terminal; closing twice is harmless."""
        with self._mutex:
            if self._bar is not None:
                self._bar.close()
                self._bar = None
            elif self._mode == "lines" and self.total:
                self._write(self._line())
            self._mode = "none"

    def summary(self) -> dict[str, Any]:
        """What happened in this run, as JSON values."""
        return {
            "questions": {"total": self.total, "done": self.finished, "failed": self.failures},
            "failures": dict(self.reasons.most_common(LISTED)),
            "failed_questions": dict(self.failed_questions),
            "rollouts_before": self.before,
            "rollouts_sampled": self.rollouts,
            "tokens_sampled": self.tokens,
            "cut_off": self.unfinished,
            "verdicts": dict(self.verdicts),
            "seconds": round(self._clock() - self._began, 2),
        }

    def _show(self, *, ended: int = 0) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._counts(), refresh=False)
            self._bar.update(ended)
        elif self._mode == "lines" and self._clock() - self._shown >= self._every:
            self._shown = self._clock()
            self._write(self._line())

    def _counts(self) -> str:
        failed = f"{self.failures:,} failed  " if self.failures else ""
        return f"{failed}{self.rollouts:,} rollouts  {self.tokens:,} tokens"

    def _line(self) -> str:
        seconds = self._clock() - self._began
        ended = self.finished + self.failures
        parts = [f"questions {ended:,}/{self.total:,}", self._counts(), duration(seconds)]
        if self._live and ended < self.total:
            parts.append(f"about {duration(seconds / self._live * (self.total - ended))} left")
        return "  ".join(parts)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def describe_summary(summary: Mapping[str, Any]) -> str:
    """The end of a run in a person's words, a few lines."""
    questions = summary["questions"]
    lines = [
        f"{questions['done']:,} of {questions['total']:,} questions done, {questions['failed']:,} failed; "
        f"{summary['rollouts_sampled']:,} rollouts ({summary['rollouts_before']:,} were there before), "
        f"{summary['tokens_sampled']:,} tokens, {duration(summary['seconds'])}"
    ]
    if "labelled_steps" in summary:
        lines.append(
            f"{summary['cots']:,} CoTs, {summary['right']:,} right; {summary['labelled_steps']:,} labelled "
            f"prefixes that are not whole CoTs, each for {summary['rollouts_per_labelled_step']:.2f} "
            f"rollouts and {summary['tokens_per_labelled_step']:.0f} tokens"
        )
    elif "cots" in summary:
        lines.append(f"{summary['cots']:,} CoTs, {summary['right']:,} right")
    if summary.get("malformed"):
        named = ", ".join(f"{name} {count:,}" for name, count in summary["malformed"].items())
        lines.append(f"malformed CoTs, kept and marked: {named}")
    if summary.get("left_out"):
        named = ", ".join(f"{count:,} {reason}" for reason, count in summary["left_out"].items())
        lines.append(f"not written: {named}")
    lines += [f"failed: {count:,} x {reason}" for reason, count in summary["failures"].items()]
    return "\n".join(lines)
