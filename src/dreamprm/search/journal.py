"""The journal of a search: every completion and every score that was paid for, written as it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dreamprm.files.append_only import AppendOnlyFile, Line, require_fields
from dreamprm.files.json_values import shown
from dreamprm.generators.base import Completion
from dreamprm.scorers.base import CandidateScores

_COMPLETION: Mapping[str, str] = MappingProxyType(
    {"text": "a text", "tokens": "a whole number >= 0", "finished": "true or false"}
)
_MORE = ("reasoning", "note", "stopped_by")  # only where there is something


class SearchJournal(AppendOnlyFile):
    """Completions and scores by the content of what was asked, in a file that survives a kill at any moment.

    A line holds what one call brought, `replies` (completions by request) or `scores` (by candidate), under
    keys that hold everything they depend on: another method, size or seed of a search finds what an earlier
    one asked for in the same words. A call is one line, so that what is asked again after a kill is asked
    together as before, and rounds as before. Any thread may write.

    Args, Raises: as `AppendOnlyFile`; also DataError for a line that this program cannot have written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.replies: dict[str, tuple[Completion, ...]] = {}
        self.scores: dict[str, CandidateScores] = {}
        self._read(
            self._take,
            what="a journal of a search",
            advice="restore the file, or choose another output",
        )

    def add_replies(self, found: Mapping[str, Sequence[Completion]]) -> None:
        """Write the completions that a call brought, by request.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        with self._mutex:
            rows = {key: [_row(one) for one in completions] for key, completions in found.items()}
            self._append({"replies": rows})
            self.replies |= {key: tuple(completions) for key, completions in found.items()}

    def add_scores(self, found: Mapping[str, CandidateScores]) -> None:
        """Write the scores that a call brought, by candidate.

        Raises:
            UserError: as `add_replies`.
        """
        with self._mutex:
            rows = {key: {"log_odds": list(one.log_odds), "tokens": one.tokens} for key, one in found.items()}
            self._append({"scores": rows})
            self.scores |= found

    def _take(self, line: Line, row: Any) -> None:
        del line
        if not isinstance(row, dict) or len(row) != 1:
            raise ValueError(f"got {shown(row)}; allowed: an object with `replies` or `scores`")
        if "replies" in row:
            require_fields(row, {"replies": "an object"})
            for key, completions in row["replies"].items():
                if not isinstance(completions, list) or not completions:
                    raise ValueError(f"field 'replies.{key}': got {shown(completions)}; allowed: a list")
                self.replies[key] = tuple(_completion(one, f"replies.{key}") for one in completions)
            return
        require_fields(row, {"scores": "an object"})
        for key, one in row["scores"].items():
            within = f"scores.{key}"
            require_fields(one, {"tokens": "a whole number >= 0"}, within=within)
            require_fields({"log_odds": [one.get("log_odds")]}, {"log_odds": _LISTS}, within=within)
            if not one["log_odds"]:
                raise ValueError(f"field '{within}.log_odds' is empty; allowed: finite numbers")
            self.scores[key] = CandidateScores(tuple(one["log_odds"]), one["tokens"])


_LISTS = "a list of lists of finite numbers, or null"


def _row(completion: Completion) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(completion, name) for name in _COMPLETION}
    return (
        row
        | {name: value for name in _MORE if (value := getattr(completion, name)) not in (None, "")}
        | ({"stopped_by": ""} if completion.stopped_by == "" else {})
    )


def _completion(row: Any, within: str) -> Completion:
    require_fields(row, _COMPLETION, within=within)
    more = {name: row[name] for name in _MORE if name in row}
    require_fields(more, dict.fromkeys(more, "a text"), within=within)
    return Completion(row["text"], row["tokens"], row["finished"], **more)
