"""The journal of a generator's replies: each one as soon as it is there, found again by what was asked."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.files.append_only import AppendOnlyFile, Line
from dreamprm.generators.base import Completion, Request, Sampling


class ReplyJournal(AppendOnlyFile):
    """Replies by what was asked, kept in a JSON Lines file that survives being killed at any moment.

    A line holds `asked`, the digest of who was asked what (`digest_of`), and `replies`, the n completions. A
    line that was cut short by a kill is dropped when the file is opened again, so that its request is asked
    anew. Replies to other requests, or of other generators, are never found, so one file may hold those of
    several. The file is held by one process at a time; any of its threads may read and write.

    Args:
        path: the file; it and its folder are made where they are missing. `path.lock` stands beside it.

    Raises:
        UserError: another process holds it, or the system lets nobody write there.
        DataError: a line that this program cannot have written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._mutex = threading.Lock()
        self._replies: dict[str, tuple[Completion, ...]] = {}
        try:
            for line in self._lines():
                asked, replies = self._parse(line)
                self._replies[asked] = replies
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, asked: str) -> list[Completion] | None:
        """The completions of the request with this digest, or None where it was not answered yet."""
        with self._mutex:
            found = self._replies.get(asked)
        return None if found is None else list(found)

    def append(self, asked: str, replies: Sequence[Completion]) -> None:
        """Write the completions of a request.

        Raises:
            UserError: the system cannot write, as where the disk is full.
        """
        with self._mutex:
            assert asked not in self._replies, f"request {asked} was answered twice"
            self._append(
                {
                    "asked": asked,
                    "replies": [
                        {"text": one.text, "tokens": one.tokens, "finished": one.finished} for one in replies
                    ],
                }
            )
            self._replies[asked] = tuple(replies)

    def _parse(self, line: Line) -> tuple[str, tuple[Completion, ...]]:
        try:
            row = json.loads(line.content)
            asked, rows = row["asked"], row["replies"]
            replies = tuple(Completion(one["text"], one["tokens"], one["finished"]) for one in rows)
            if (
                not isinstance(asked, str)
                or not replies
                or not all(
                    isinstance(one.text, str) and isinstance(one.finished, bool) and type(one.tokens) is int
                    for one in replies
                )
            ):
                raise ValueError(
                    "allowed: a text 'asked', and at least one of 'replies' with a text, a "
                    "number of 'tokens' and 'finished', true or false"
                )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}:{line.number}: not a line of a journal of replies ({error!r}); "
                "restore the file, or remove it to ask everything again"
            ) from error
        return asked, replies


def digest_of(who: Mapping[str, Any], request: Request, sampling: Sampling) -> str:
    """Names all that a reply follows from: with any of it changed it is another one's.

    Args:
        who: JSON values that tell the generator: its name and settings.
        request, sampling: what it is asked.
    """
    asked = [
        who,
        request.prompt,
        request.images,
        request.prefix,
        request.n,
        request.seed,
        sampling.temperature,
        sampling.max_tokens,
        sampling.stop,
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
