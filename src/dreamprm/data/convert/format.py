"""What a foreign format is: a reader into our records and, for some, a writer back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dreamprm.data.records import Record

Kind = Literal["step", "meta", "candidate", "question"]
Direction = Literal["in", "out"]


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Attributes:
        kind: what its records are in our form.
        read: `read(path, **options)` yields records of a foreign file (or folder). An image path that it
            resolves itself is absolute; one that it cannot resolve stays as written.
        help: one line for `--help`.
        write: `write(records, path, **options)` writes our records as a foreign file; None where the format
            is only read. It may write straight to `path`, whose ending is that of the destination: the
            caller renames the file when it is whole.
    """

    kind: Kind
    read: Callable[..., Iterator[Record]]
    help: str
    write: Callable[..., None] | None = None

    def options(self, direction: Direction = "in") -> tuple[str, ...]:
        """Names of the format's options in one direction: the keyword-only arguments of its function."""
        function = self.read if direction == "in" else self.write
        if function is None:
            return ()
        arguments: dict[str, Any] = dict(inspect.signature(function).parameters)
        return tuple(name for name, argument in arguments.items() if argument.kind is argument.KEYWORD_ONLY)
