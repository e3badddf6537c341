"""What kind of replies a generator and a judge give: how many say nothing, and when that is too many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from dreamprm.labelling.journal import Rollout, is_empty
from dreamprm.responses.visible import visible

_SHOWN = 160  # characters of an example
_EARLY = 5  # prefixes whose rollouts are all identical before it is said while the run goes on
_JUDGED = re.compile(r"(?:^|; )judge: (?P<said>.*)", re.DOTALL)


@dataclass(frozen=True)
class ReplyLimits:
    """How many replies may say nothing.

    Attributes:
        max_undecided_fraction: the share of replies in [0, 1] that may be empty or undecided.
        after: the number of replies from which on the share is judged.
    """

    max_undecided_fraction: float = 1.0
    after: int = 20


@dataclass
class Replies:
    """Counts of the replies of one run; may be called from any thread.

    Attributes:
        total: replies sampled.
        undecided: those without a verdict that a label could rest on, empty ones included.
        empty: those that say nothing (`dreamprm.labelling.journal.is_empty`).
        cut_off: those cut off at the length limit.
        reasoning: those whose reasoning the server kept apart.
        hidden: those that hold thinking or marks of a chat template.
        notes: what else is unusual about them, by `Completion.note`.
        judged, without_verdict: replies of the judge, and those among them that gave no verdict.
        groups, identical: prefixes with several rollouts from one request, and those among them whose
            rollouts are all the same text.
        example: the first reply that was empty or undecided.
    """

    total: int = 0
    undecided: int = 0
    empty: int = 0
    cut_off: int = 0
    reasoning: int = 0
    hidden: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    without_verdict: int = 0
    groups: int = 0
    identical: int = 0
    example: str = ""
    _mutex: Any = field(default_factory=Lock, repr=False)

    def add(self, rollout: Rollout) -> None:
        """Count a reply that was sampled and judged."""
        hidden = bool(visible(rollout.text).hidden)
        with self._mutex:
            self.total += 1
            self.empty += rollout.empty
            self.cut_off += not rollout.finished
            self.reasoning += bool(rollout.reasoning)
            self.hidden += hidden
            if rollout.note:
                self.notes[rollout.note] += 1
            if rollout.empty or rollout.verdict == "undecided":
                self.undecided += 1
                self.example = self.example or _example(rollout)
            judge = _JUDGED.search(rollout.reason)
            if judge is not None:
                self.judged += 1
                self.without_verdict += judge["said"] not in ("right", "wrong")

    def compare(self, texts: Sequence[str]) -> None:
        """Count the rollouts of one prefix that were asked for together, at a temperature above 0."""
        if len(texts) < 2 or all(map(is_empty, texts)):
            return
        with self._mutex:
            self.groups += 1
            self.identical += len(set(texts)) == 1

    def problem(self, limits: ReplyLimits) -> str | None:
        """Why the run must stop, or None: what was seen, an example, and what to check."""
        with self._mutex:
            share = self.undecided / max(self.total, 1)
            if self.total < limits.after or share <= limits.max_undecided_fraction:
                return None
        return (
            f"{self.undecided} of {self.total} replies say nothing that can be judged ({self.kinds()}), more "
            f"than max_undecided_fraction={limits.max_undecided_fraction:g} allows; labels made of them "
            f"would blame every step. The first: {self.example}. Check generator.max_tokens (a model that "
            "reasons first needs more), the server's chat template and reasoning parser, generator.prefix, "
            "whether the prompt asks for a final answer, and answers.kind; after a change that affects the "
            "replies, choose another output. If they are as they should be, raise max_undecided_fraction and "
            "run the same command again."
        )

    def kinds(self) -> str:
        """The kinds of unusual replies with their counts, such as `12 empty, 9 cut off`."""
        unclear = self.undecided - self.empty
        counts = {
            "empty": self.empty,
            "undecided": unclear,
            "cut off": self.cut_off,
            **self.notes,
            "with thinking or template marks in the text": self.hidden,
        }
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)

    def share(self) -> str:
        """The share of undecided and empty replies while the run goes on; "" if there are none."""
        if not self.undecided:
            return ""
        text = f"{self.undecided / self.total:.0%} undecided"
        return text + (f" ({self.empty / self.total:.0%} empty)" if self.empty else "")

    def early_warning(self) -> bool:
        """Whether all of the first prefixes have identical rollouts."""
        return self.groups == self.identical == _EARLY

    def to_json(self) -> dict[str, Any]:
        """The counts, for a summary."""
        return {
            "total": self.total,
            "undecided": self.undecided,
            "empty": self.empty,
            "cut_off": self.cut_off,
            "with_reasoning": self.reasoning,
            "with_hidden_text": self.hidden,
            "notes": dict(self.notes),
            "judge_replies": self.judged,
            "judge_replies_without_verdict": self.without_verdict,
            "prefixes_with_several_rollouts": self.groups,
            "prefixes_with_identical_rollouts": self.identical,
        }


def reply_lines(counts: dict[str, Any]) -> list[str]:
    """The counts of `Replies.to_json` as lines of a summary; only what is unusual."""
    total, lines = counts["total"], []
    if counts["undecided"]:
        lines.append(
            f"replies: {counts['undecided']:,} of {total:,} undecided "
            f"({counts['undecided'] / total:.1%}), of which {counts['empty']:,} empty"
        )
    kinds = {
        "cut off at generator.max_tokens": counts["cut_off"],
        **counts["notes"],
        "with reasoning apart from the reply (kept, not graded)": counts["with_reasoning"],
        "with thinking or template marks in the text (not graded)": counts["with_hidden_text"],
    }
    told = ", ".join(f"{count:,} {what}" for what, count in kinds.items() if count)
    if told:
        lines.append(f"replies: {told}")
    if counts["judge_replies_without_verdict"]:
        judged, none = counts["judge_replies"], counts["judge_replies_without_verdict"]
        lines.append(f"judge: {none:,} of {judged:,} replies gave no verdict ({none / judged:.1%})")
    if counts["prefixes_with_identical_rollouts"]:
        lines.append(
            identical_warning(
                counts["prefixes_with_identical_rollouts"], counts["prefixes_with_several_rollouts"]
            )
        )
    return lines


def identical_warning(identical: int, groups: int) -> str:
    """The warning that rollouts repeat each other."""
    return (
        f"warning: all rollouts are identical for {identical:,} of {groups:,} prefixes, at a temperature "
        "above 0; a server that ignores temperature or seeds gives such rollouts, and their labels are 0 or 1"
    )


def _example(rollout: Rollout) -> str:
    text = rollout.text if len(rollout.text) <= _SHOWN else rollout.text[:_SHOWN] + "..."
    more = [rollout.reason]
    if not rollout.finished:
        more.append("cut off")
    if rollout.reasoning:
        more.append(f"{len(rollout.reasoning):,} characters of reasoning apart from it")
    where = f"question {rollout.key.question}, step {rollout.key.step}"
    return f"{where}: {text!r} ({'; '.join(filter(None, more))})"
