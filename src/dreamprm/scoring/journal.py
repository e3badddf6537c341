"""The journal of a scored file: each row's log-odds, written as soon as they are known, in any order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dreamprm.config.errors import UserError
from dreamprm.files.append_only import AppendOnlyFile, Line

FORMAT = 1

LogOdds = Sequence[list[float] | None]


class Entry(NamedTuple):
    """A row's result: its chains' log-odds (None: a chain without scores), or why it was left out."""

    log_odds: list[list[float] | None]
    left_out: str | None


class ScoreJournal(AppendOnlyFile):
    """Scores by row number, kept in a JSON Lines file that survives a kill at any moment.

    The first line says how the scores were made; each further line holds one row's scores. A line cut short
    by a kill is dropped when the file is opened again, so that its row is scored again; so are rows that were
    left out. Only the rows' positions in the file are held in memory. One process at a time holds the file.

    Args:
        path: the file; it and its folder are created if missing, with `path.lock` next to it.
        identity: JSON values that determine the scores: model, precision, how rows are read.

    Raises:
        UserError: another process holds the file, it contains scores of another identity, or it cannot be
            written.
        DataError: a line that this program cannot have written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        super().__init__(path)
        self._rows: dict[int, tuple[int, str]] = {}  # number -> (position in the file, digest)
        self._end = 0  # bytes of the file
        self._read(
            partial(self._take, dict(identity)),
            what="a journal of scores",
            advice="restore the file, or choose another output",
        )
        if not self._end:
            self._end += self._append({"format": FORMAT, "made_by": dict(identity)})

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, number: int, digest: str) -> bool:
        """Whether the row has been scored, or left out by this process.

        Raises:
            UserError: the journal has a different row with this number: the input has changed.
        """
        known = self._rows.get(number)
        if known is not None and known[1] != digest:
            raise UserError(
                f"{self.path} holds scores of a different record {number} (counted from 0): the input has "
                "changed since; choose another output, or remove this file to score everything again"
            )
        return known is not None

    def append(self, number: int, digest: str, log_odds: LogOdds, left_out: str | None = None) -> None:
        """Write a row's log-odds, or why it is left out.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        assert number not in self._rows, f"row {number} was scored twice"
        fields = {"log_odds": list(log_odds)} if left_out is None else {"left_out": left_out}
        place = self._end
        self._end += self._append({"row": number, "digest": digest, **fields})
        self._rows[number] = (place, digest)

    def read(self, number: int) -> Entry:
        """What was written for a row."""
        place, _ = self._rows[number]
        with self.path.open("rb") as file:
            file.seek(place)
            row = json.loads(file.readline())
        return Entry(row.get("log_odds", []), row.get("left_out"))

    def _take(self, identity: Mapping[str, Any], line: Line, row: Any) -> None:
        types = {"row": int, "digest": str} if line.place else {"made_by": dict}
        wrong = [name for name, kind in types.items() if not isinstance(row[name], kind)]
        if wrong or (line.place and "log_odds" not in row and "left_out" not in row):
            raise ValueError(f"bad fields {wrong or 'log_odds, left_out'}")
        if not line.place:
            self._check_identity(row["made_by"], identity)
        elif "log_odds" in row:
            self._rows[row["row"]] = line.place, row["digest"]
        # Rows that were left out are tried again: an image may have been added or replaced since.
        self._end += len(line.content)

    def _check_identity(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        changed = [
            f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if changed:
            raise UserError(
                f"{self.path} holds scores made differently ({'; '.join(changed)}); choose another "
                "output, or remove this file to score everything again"
            )
