"""The journal of a run: every rollout that was paid for, one per line, written to disk as it arrives."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dreamprm.answers.base import Verdict
from dreamprm.config.errors import DataError, UserError
from dreamprm.files.append_only import AppendOnlyFile, Line

# "unjudged" marks a rollout that was sampled but for which the judge gave no reply.
_VERDICTS: Mapping[str, Verdict | None] = MappingProxyType(
    {"right": "right", "wrong": "wrong", "undecided": "undecided", "unjudged": None}
)


class Key(NamedTuple):
    """Identifies a rollout by question, chain of thought (CoT), step and number.

    Step 0 is the question itself; its rollout 0 is the CoT. Steps 1, 2, ... are the prefixes that end there.
    """

    question: str
    cot: int
    step: int
    rollout: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion with its verdict.

    Attributes:
        key: identifies the rollout.
        input: digest of the text that it continues and the answer that it is compared with.
        text: the completion, without its prefix.
        tokens: its length in the generator's tokens.
        finished: False if it was cut off.
        verdict: of the whole response, prefix and completion; None if it has not been judged yet.
        answer: the text that was read as its answer.
        reason: the reason for the verdict.

    For steps >= 1, text, answer and reason are stored only in the file: in memory they become "", None and
    "".
    """

    key: Key
    input: str
    text: str
    tokens: int
    finished: bool
    verdict: Verdict | None
    answer: str | None
    reason: str


class Journal(AppendOnlyFile):
    """Rollouts by key, kept in a JSON Lines file that survives a kill at any moment.

    A line is written and flushed at once. A line cut short by a kill is dropped when the file is opened
    again, so that its rollout is sampled again: none is lost, none counted twice. One process at a time holds
    the file.

    A rollout for which the judge gave no reply is kept without a verdict: it is found by `unjudged`, not by
    `find`, and its verdict is written later as another line.

    Args:
        path: the file; it and its folder are created if missing, with `path.lock` next to it.

    Raises:
        UserError: another process holds the file, or it cannot be written.
        DataError: a line that this program cannot have written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._mutex = threading.Lock()
        self._rollouts: dict[Key, Rollout] = {}
        self._unjudged: dict[Key, Rollout] = {}
        self._read(self._take, what="a journal", advice="restore the file, or choose another output")

    def find(self, key: Key, input: str) -> Rollout | None:
        """The rollout of this key, or None if there is none yet.

        Raises:
            UserError: there is one, but with a different prompt, prefix or right answer.
        """
        return self._same_input(self._rollouts.get(key), input)

    def unjudged(self, key: Key, input: str) -> Rollout | None:
        """The rollout of this key that has no verdict yet, with its text, or None.

        Raises:
            UserError: as `find`.
        """
        return self._same_input(self._unjudged.get(key), input)

    def append(self, rollouts: Sequence[Rollout]) -> None:
        """Write rollouts, one per line; may be called from any thread.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        with self._mutex:
            for rollout in rollouts:
                assert rollout.key not in self._rollouts, f"rollout {rollout.key} was sampled twice"
                self._append(_row(rollout))
                self._keep(rollout)

    def _keep(self, rollout: Rollout) -> None:
        """Keep it in memory; for a prefix's rollout only what labels need, because there are millions."""
        if rollout.verdict is None:
            self._unjudged[rollout.key] = rollout
            return
        self._unjudged.pop(rollout.key, None)
        if rollout.key.step:
            key = rollout.key._replace(question=sys.intern(rollout.key.question))
            rollout = Rollout(
                key,
                sys.intern(rollout.input),
                "",
                rollout.tokens,
                rollout.finished,
                rollout.verdict,
                None,
                "",
            )
        self._rollouts[rollout.key] = rollout

    def _same_input(self, found: Rollout | None, input: str) -> Rollout | None:
        if found is not None and found.input != input:
            key = found.key
            raise UserError(
                f"{self.path} holds a rollout of question {key.question}, CoT {key.cot}, step {key.step} "
                "with a different prefix or right answer: the question or the CoT has changed "
                "since; choose another output, or remove that question's lines from the file"
            )
        return found

    def __len__(self) -> int:
        return len(self._rollouts)

    def __iter__(self) -> Iterator[Rollout]:
        return iter(list(self._rollouts.values()))

    def _take(self, line: Line, row: Any) -> None:
        question, cot, step, number, input, text, tokens, finished, verdict, answer, reason = (
            row[name] for name in _FIELDS
        )
        if len(row) != len(_FIELDS):
            raise ValueError(f"unknown fields {sorted(row.keys() - set(_FIELDS))}")
        key = Key(question, cot, step, number)
        if key in self._rollouts:
            raise DataError(
                f"{self.path}:{line.number}: rollout {tuple(key)} occurs twice; remove one of the lines"
            )
        self._keep(Rollout(key, input, text, tokens, finished, _VERDICTS[verdict], answer, reason))


_FIELDS = (
    "question",
    "cot",
    "step",
    "rollout",
    "input",
    "text",
    "tokens",
    "finished",
    "verdict",
    "answer",
    "reason",
)


def _row(rollout: Rollout) -> dict[str, object]:
    values = (
        *rollout.key,
        rollout.input,
        rollout.text,
        rollout.tokens,
        rollout.finished,
        rollout.verdict or "unjudged",
        rollout.answer,
        rollout.reason,
    )
    return dict(zip(_FIELDS, values, strict=True))
