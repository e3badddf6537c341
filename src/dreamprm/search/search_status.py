"""The progress of a search: counts while it runs, and a summary at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dreamprm.runtime.progress import CountingDisplay, duration
from dreamprm.search.driver import Found
from dreamprm.search.journal import SearchJournal

LISTED = 20
"""How many failed questions the summary lists; all are counted."""


class SearchStatus(CountingDisplay):
    """Counts questions and tokens, and shows them.

    Args:
        journal: what it holds at the start was brought before.
        mode, every: as in `CountingDisplay`.
    """

    def __init__(self, journal: SearchJournal, mode: str = "auto", *, every: float = 30.0) -> None:
        super().__init__(mode, unit="question", every=every)
        self.before = {"requests": len(journal.replies), "chains": len(journal.scores)}
        self.finished = self.failures = 0
        self.generated = self.scored = 0
        self.reasons: Counter[str] = Counter()
        self.failed_questions: dict[str, str] = {}

    def begin(self, total: int, *, before: int = 0, label: str | None = None) -> None:
        """Start with this many questions."""
        super().begin(total, before=before, label=label)
        if any(self.before.values()):
            self.say(
                f"the journal holds {self.before['requests']:,} requests with their replies and the scores "
                f"of {self.before['chains']:,} chains"
            )

    def done(self, found: Found) -> None:
        """Report that a question is done."""
        self.finished += 1
        self.generated += found.cost.generated
        self.scored += found.cost.scored
        self.advance(1)

    def failed(self, question: str, reason: str) -> None:
        """Report that a question failed; the first failure of each reason is shown at once."""
        if reason not in self.reasons and len(self.reasons) < LISTED:
            self.say(f"question {question} failed: {reason}")
        self.failures += 1
        self.reasons[reason] += 1
        if len(self.failed_questions) < LISTED:
            self.failed_questions[question] = reason
        self.advance(1)

    def summary(self) -> dict[str, Any]:
        """What happened, as JSON values."""
        return {
            "questions": {"total": self.total, "done": self.finished, "failed": self.failures},
            "failures": dict(self.reasons.most_common(LISTED)),
            "failed_questions": dict(self.failed_questions),
            "in_journal_before": self.before,
            "seconds": round(self.seconds, 2),
        }

    def _counts(self) -> str:
        failed = f", {self.failures:,} failed" if self.failures else ""
        return f"{self.generated:,} tokens generated, {self.scored:,} scored{failed}"

    def _line(self) -> list[str]:
        ended = self.finished + self.failures
        return [
            f"questions {ended:,}/{self.total:,}",
            self._counts(),
            duration(self.seconds),
            self._left(ended, self.total - ended),
        ]


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary of a search in a few lines."""
    questions, total, per = summary["questions"], summary["total"], summary["per_question"]
    lines = [
        f"{questions['done']:,} of {questions['total']:,} questions done, {questions['failed']:,} failed; "
        f"{total['generated']:,} tokens generated and {total['scored']:,} scored "
        f"({summary['tokens_generated_now']:,} and {summary['tokens_scored_now']:,} in this run), "
        f"{duration(summary['seconds'])}"
    ]
    if questions["done"]:
        lines.append(
            f"chosen answers right: {summary['accuracy']:.1%}, at {per['generated']:,.1f} tokens generated "
            f"and {per['scored']:,.1f} scored per question"
        )
    told = {
        "ended at budget.generated_tokens": summary["questions_at_token_limit"],
        "went past it, by a generator that ignores max_tokens": summary["questions_over_token_limit"],
        "without any chain": summary["without_chain"],
        "with a chosen chain that is not complete": summary["chosen_unfinished"],
        "with a chosen chain that could not be judged": summary["undecided"],
    }
    lines += [f"questions that {what}: {count:,}" for what, count in list(told.items())[:2] if count]
    lines += [f"questions {what}: {count:,}" for what, count in list(told.items())[2:] if count]
    kinds = {
        "past the end of their step (cut away, and paid for)": total["cut_away"],
        "cut off at a limit of tokens": total["cut_off"],
        "without any text": total["empty"],
        "that the scorer refused": total["unscored"],
    }
    noted = ", ".join(f"{count:,} {what}" for what, count in kinds.items() if count)
    if noted:
        lines.append(f"{total['continuations']:,} continuations, of which {noted}")
    return lines + [f"failed: {count:,} x {reason}" for reason, count in summary["failures"].items()]
