"""The journal of a scored file: log-odds by the content they belong to, written as soon as they are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dreamprm.config.errors import UserError
from dreamprm.data.read_report import ReadReport
from dreamprm.files.append_only import AppendOnlyFile, Line, line_value, require_fields
from dreamprm.files.content import FileDigests, changed_parts
from dreamprm.scoring.rows import Row, Source

FORMAT = 2
"""Raised when something that scores depend on is computed differently, or enters the rows' keys."""

LogOdds = Sequence[list[float] | None]


class Entry(NamedTuple):
    """A row's result: its chains' log-odds (None: a chain without scores), or why it was left out."""

    log_odds: list[list[float] | None]
    left_out: str | None


_TYPES: Mapping[str, str] = MappingProxyType({"row": "a whole number >= 0", "key": "a text"})
_EITHER: Mapping[str, str] = MappingProxyType(
    {
        "log_odds": "a list of lists of finite numbers, or null",
        "left_out": "a text",
        "images": "an object of texts",
    }
)


class ScoreJournal(AppendOnlyFile):
    """Scores by content (`Row.keys`), kept in a JSON Lines file that survives a kill at any moment.

    The first line says how the scores were made; each further line holds the scores of one row's content,
    wherever that row stands in the file. A line cut short by a kill is dropped when the file is opened again,
    so that its row is scored again; so are rows that were left out. Only positions in the file are held in
    memory. One process at a time holds the file.

    Attributes:
        left_out: keys of rows that earlier runs left out, which are tried again.

    Args:
        path: the file; it and its folder are created if missing, with `path.lock` next to it.
        identity: JSON values that determine the scores: model, precision, how rows are read. `files` holds
            digests by file name, by what they are files of.

    Raises:
        UserError: another process holds the file, it contains scores of another identity or of a version that
            did not record what images held, or it cannot be written.
        DataError: a line that this program cannot have written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        super().__init__(path)
        self._places: dict[str, int] = {}  # key -> position in the file
        self.left_out: set[str] = set()
        self._end = 0  # bytes of the file
        self._read(
            partial(self._take, dict(identity)),
            what="a journal of scores",
            advice="restore the file, or choose another output",
        )
        if not self._end:
            self._end += self._append({"format": FORMAT, "made_by": dict(identity)})

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        """Whether the content with this key has been scored, or left out by this process."""
        return key in self._places

    def append(
        self,
        key: str,
        log_odds: LogOdds,
        left_out: str | None = None,
        *,
        row: int,
        images: Mapping[str, str | None] | None = None,
    ) -> None:
        """Write the log-odds that belong to a key, or why its row is left out.

        Args:
            row: the row's number in the file, counted from 0; for people.
            images: what happened to its images (see `images`); None values are not written.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        assert key not in self._places, f"row {row} was scored twice"
        fields = {"log_odds": list(log_odds)} if left_out is None else {"left_out": left_out}
        noted = {name: what for name, what in (images or {}).items() if what is not None}
        place = self._end
        self._end += self._append({"row": row, "key": key, **fields, **({"images": noted} if noted else {})})
        self._places[key] = place

    def read(self, key: str) -> Entry:
        """What was written for a key."""
        row = self._line(key)
        return Entry(row.get("log_odds", []), row.get("left_out"))

    def images(self, key: str) -> dict[str, str]:
        """What happened to a row's images: `lost`, which one was missing or broken, so that all were left
        out; `cut_off`, which one was used as far as it goes. Empty if all were whole."""
        return dict(self._line(key).get("images", {}))

    def _line(self, key: str) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return dict(line_value(file.readline()))

    def _take(self, identity: Mapping[str, Any], line: Line, row: Any) -> None:
        if not line.place:
            require_fields(row, {"format": "a whole number >= 0"})
            self._check_format(row["format"])
            require_fields(row, {"made_by": "an object"})
            files = row["made_by"].get("files", {})
            require_fields(files, dict.fromkeys(files, "an object"), within="made_by.files")
        else:
            require_fields(row, _TYPES)
            given = {name: kind for name, kind in _EITHER.items() if name in row}
            require_fields(row, given or {"log_odds": _EITHER["log_odds"]})
        if not line.place:
            self._check_identity(row["made_by"], identity)
        elif "log_odds" in row:
            self._places[row["key"]] = line.place
        else:
            self.left_out.add(row["key"])
        # Rows that were left out are tried again: an image may have been added or replaced since.
        self._end += len(line.content)

    def _check_format(self, written: Any) -> None:
        if written == FORMAT:
            return
        if written == 1:
            raise UserError(
                f"{self.path} holds scores of version 0.2.0 or older, which recorded the paths of images and "
                "not what they held, so it is not known which pictures the scores belong to; choose another "
                "output, or remove this file to score everything again"
            )
        raise UserError(
            f"{self.path} has format {written}, but this version reads {FORMAT}; upgrade dreamprm, or choose "
            "another output"
        )

    def _check_identity(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        changed = [
            f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if key != "files" and before.get(key) != now.get(key)
        ]
        files, held = before.get("files", {}), now.get("files", {})
        for what in sorted(files.keys() | held.keys()):
            changed += [f"{what}: {told}" for told in changed_parts(files.get(what, {}), held.get(what, {}))]
        if changed:
            raise UserError(
                f"{self.path} holds scores made differently ({'; '.join(changed)}); choose another "
                "output, or remove this file to score everything again"
            )


@dataclass(frozen=True)
class StoredScores:
    """The journal of a file, asked by row.

    Args:
        text_only, cut_off: whether rows may be scored without their images, or with images that are cut off.
    """

    journal: ScoreJournal
    digests: FileDigests
    text_only: bool
    cut_off: bool

    def rows(self, source: Source, report: ReadReport) -> Iterator[tuple[Row, list[str]]]:
        """The rows of the file with `Row.keys`; the n-th row with the same content has keys of its own."""
        times: Counter[str] = Counter()
        for row in source.rows(report):
            keys = row.keys(self.digests, text_only=self.text_only, cut_off=self.cut_off)
            times[keys[0]] += 1
            again = times[keys[0]]
            yield row, keys if again == 1 else [f"{key}-{again}" for key in keys]

    def key(self, keys: Sequence[str]) -> str | None:
        """The key under which a row's scores are stored; None if there are none."""
        return next((key for key in keys if key in self.journal), None)
