"""The journal of a run: every rollout that was paid for, one per line, written to disk as it arrives."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dreamprm.answers.base import Verdict
from dreamprm.config.errors import DataError
from dreamprm.files.append_only import AppendOnlyFile, Line, line_value, require_fields
from dreamprm.responses.visible import visible

ASKED = 16
"""How many digits of an input are of what was asked (`dreamprm.labelling.rollout_content`); the others are of
how its answer is judged. Inputs of version 0.2.0 and older have 16 digits, and leave out files."""

_OLDER = re.compile(f"[0-9a-f]{{{ASKED}}}")

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
        input: digest of everything that determines its text and its verdict.
        text: the completion, without its prefix.
        tokens: its length in the generator's tokens.
        finished: False if it was cut off.
        verdict: of the whole response, prefix and completion; None if it has not been judged yet.
        answer: the text that was read as its answer.
        reason: the reason for the verdict.
        reasoning, note: as in `Completion`.
        empty: whether its text says nothing: white space, thinking, or the marks of a chat template.

    For steps >= 1, text, answer, reason and reasoning are stored only in the file: in memory they become "",
    None, "" and "".
    """

    key: Key
    input: str
    text: str
    tokens: int
    finished: bool
    verdict: Verdict | None
    answer: str | None
    reason: str
    reasoning: str = ""
    note: str = ""
    empty: bool = False


def is_empty(text: str) -> bool:
    """Whether a reply says nothing that could be graded or be a step."""
    return not visible(text).text.strip()


class Journal(AppendOnlyFile):
    """Rollouts by input and key, kept in a JSON Lines file that survives a kill at any moment.

    A line is written and flushed at once. One cut short is sampled again: none is lost, none counted twice.
    A rollout is found only for the input that it was sampled and judged for; the texts of others stay, and
    serve where only the judging differs. Any thread may read and write.

    A rollout for which the judge gave no reply is kept without a verdict: it is found by `unjudged`, not by
    `find`, and its verdict is written later as another line.

    Args, Raises: as `AppendOnlyFile`; also DataError for a line that this program cannot have written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._rollouts: dict[str, dict[Key, Rollout]] = {}  # by input
        self._unjudged: dict[str, dict[Key, Rollout]] = {}
        self._inputs: dict[str, set[str]] = {}  # by what was asked, the first half of an input
        self._places: dict[tuple[str, Key], int] = {}  # of lines, by what was asked; filled when needed
        self._count = 0
        self._read(self._take, what="a journal", advice="restore the file, or choose another output")

    def find(self, key: Key, input: str) -> Rollout | None:
        """The rollout of this key for this input, or None if there is none yet."""
        return self._rollouts.get(input, {}).get(key)

    def unjudged(self, key: Key, input: str) -> Rollout | None:
        """The rollout of this key for this input that has no verdict yet, with its text, or None."""
        return self._unjudged.get(input, {}).get(key)

    def sampled(self, key: Key, asked: str) -> Rollout | None:
        """A rollout of this key with its text, whatever it was judged by, or None.

        Args:
            asked: the first half of an input; or a whole one of version 0.2.0 or older.
        """
        with self._mutex:
            inputs = self._inputs.get(asked, ())
            if not any(key in held.get(input, {}) for input in inputs for held in self._held):
                return None
            if (asked, key) not in self._places:
                # Texts are not held in memory: they are needed only where answers are judged anew.
                for line in self._lines():
                    row = line_value(line.content)
                    self._places[row["input"][:ASKED], _key(row)] = line.place
            place = self._places[asked, key]
        with self.path.open("rb") as file:
            file.seek(place)
            return _rollout(line_value(file.readline()))

    def questions(self, asked: str) -> set[str]:
        """The ids under which rollouts of this content are stored."""
        return {
            key.question
            for input in self._inputs.get(asked, ())
            for held in self._held
            for key in held.get(input, ())
        }

    @property
    def has_older(self) -> bool:
        """Whether it holds rollouts of version 0.2.0 or older."""
        return any(_OLDER.fullmatch(input) for inputs in self._inputs.values() for input in inputs)

    def chains(self) -> dict[str, int]:
        """The number of whole CoTs by the first half of their input."""
        counts: dict[str, int] = {}
        for asked, inputs in self._inputs.items():
            keys = {key for input in inputs for held in self._held for key in held.get(input, ())}
            chains = sum(not key.step for key in keys)
            if chains:
                counts[asked] = chains
        return counts

    def append(self, rollouts: Sequence[Rollout]) -> None:
        """Write rollouts, one per line; may be called from any thread.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        with self._mutex:
            for rollout in rollouts:
                assert self.find(rollout.key, rollout.input) is None, (
                    f"rollout {rollout.key} was sampled twice"
                )
                self._append(_row(rollout))
                self._keep(rollout)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Rollout]:
        return iter([rollout for held in list(self._rollouts.values()) for rollout in held.values()])

    @property
    def _held(self) -> tuple[dict[str, dict[Key, Rollout]], ...]:
        return self._rollouts, self._unjudged

    def _keep(self, rollout: Rollout) -> None:
        """Keep it in memory; for a prefix's rollout only what labels need, because there are millions."""
        input = sys.intern(rollout.input)
        self._inputs.setdefault(input[:ASKED], set()).add(input)
        if rollout.verdict is None:
            self._unjudged.setdefault(input, {})[rollout.key] = rollout
            return
        self._unjudged.get(input, {}).pop(rollout.key, None)
        if rollout.key.step:
            key = rollout.key._replace(question=sys.intern(rollout.key.question))
            rollout = replace(rollout, key=key, input=input, text="", answer=None, reason="", reasoning="")
        self._rollouts.setdefault(input, {})[rollout.key] = rollout
        self._count += 1

    def _take(self, line: Line, row: Any) -> None:
        rollout = _rollout(row)
        if self.find(rollout.key, rollout.input) is not None:
            raise DataError(
                f"{self.path}:{line.number}: rollout {tuple(rollout.key)} occurs twice; remove one of the "
                "lines"
            )
        self._keep(rollout)


_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "question": "a text",
        "cot": "a whole number >= 0",
        "step": "a whole number >= 0",
        "rollout": "a whole number >= 0",
        "input": "a text",
        "text": "a text",
        "tokens": "a whole number >= 0",
        "finished": "true or false",
        "verdict": "a text",
        "answer": "a text or null",
        "reason": "a text",
    }
)
_FIELDS = tuple(_TYPES)
_MORE = ("reasoning", "note")  # only on the lines that have them


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["question"], row["cot"], row["step"], row["rollout"])


def _rollout(row: Mapping[str, Any]) -> Rollout:
    """The rollout of a line.

    Raises:
        ValueError: it is not one.
    """
    require_fields(row, _TYPES)
    input, text, tokens, finished, verdict, answer, reason = (row[name] for name in _FIELDS[4:])
    more = {name: row[name] for name in _MORE if name in row}
    require_fields(more, dict.fromkeys(more, "a text"))
    if verdict not in _VERDICTS:
        raise ValueError(f"field 'verdict': got {verdict!r}; allowed: {', '.join(_VERDICTS)}")
    if len(row) != len(_FIELDS) + len(more):
        raise ValueError(f"unknown fields {sorted(row.keys() - set(_FIELDS) - set(_MORE))}")
    said = (text, tokens, finished, _VERDICTS[verdict], answer, reason)
    return Rollout(_key(row), input, *said, **more, empty=is_empty(text))


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
    more = {name: value for name in _MORE if (value := getattr(rollout, name))}
    return dict(zip(_FIELDS, values, strict=True)) | more
