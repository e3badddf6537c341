"""Names that a user gives to runs, suites, domains, scorers and files: fit to be file names, or refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from dreamprm.config.errors import UserError

LONGEST = 150
"""Bytes of a name in UTF-8. File systems take 255, and what is written adds up to 70 (`NAME.scores.jsonl`,
and what a temporary file of it has before and after)."""

# Categories of Unicode that cannot be seen or end a line: control characters, line and paragraph separators,
# and halves of surrogate pairs, which UTF-8 cannot encode.
_REFUSED = {
    "Cc": "a control character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Cs": "half of a surrogate pair",
}


def name_problem(name: str) -> str | None:
    """Why a name cannot be a file's in every folder of every system, in words; None if it can."""
    if not name.strip():
        return "is empty"
    if name != name.strip():
        return "begins or ends with a blank"
    for character in name:
        if character in "/\\":
            return "holds a slash or a backslash, which would make it a path"
        if (what := _REFUSED.get(unicodedata.category(character))) is not None:
            return f"holds {what}, {ascii(character)}"
    if name.startswith("."):
        return "starts with a dot, so that it would be hidden, or another folder"
    if name.startswith("-"):
        return "starts with a hyphen, which commands take for an option"
    if (size := len(name.encode())) > LONGEST:
        return f"is {size} bytes long, more than {LONGEST}"
    return None


def check_names(names: Iterable[str], what: str, *, distinct: bool = False) -> None:
    """Refuse names that could lead elsewhere or be no file names, and two that may be one file.

    Every name that a configuration gives to a run, a suite, a domain, a scorer or a file goes through here
    when the configuration is read, whether this command makes a file of it or a later one does.

    Args:
        names: as given.
        what: the setting that they stand in, for messages.
        distinct: whether each has a file of its own in one folder.

    Raises:
        UserError: with the name and what is wrong with it.
    """
    seen: dict[str, str] = {}
    for name in names:
        problem = name_problem(name)
        if problem is not None:
            shown = ascii(name if len(name) <= 24 else name[:21] + "...")
            raise UserError(
                f"{what}: {shown} {problem}. It becomes a file name; it may not be empty, start with a "
                "dot or contain a slash or control characters, nor be longer than "
                f"{LONGEST} bytes: give another name"
            )
        # Case and the form of accents do not tell files apart on every system.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        first = seen.setdefault(folded, name)
        if distinct and first != name:
            raise UserError(
                f"{what}: {first!r} and {name!r} differ in upper and lower case or in how they are encoded "
                "alone, and would be one file on some systems; give them different names"
            )
