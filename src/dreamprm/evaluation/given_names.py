"""Scorers and selectors that a configuration names, checked against the files' first records.

Every record of a file has the same scorers, so the first one shows a misspelt name before the rest is read,
and before a judge is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.data.json_stream import stream_json
from dreamprm.evaluation.comparison import chosen_scorers, compared_pairs
from dreamprm.evaluation.development_choices import check_checkpoints
from dreamprm.evaluation.drawn_examples import example_pairs
from dreamprm.evaluation.selector_names import UNSCORED, WEIGHTED
from dreamprm.evaluation.settings import EvaluateConfig, SuiteFiles


def check_given_names(config: EvaluateConfig) -> None:
    """Check `scorers`, `aggregations`, `checkpoints`, `compare` and `examples.pairs`.

    Nothing is checked if a first record cannot be read: whoever reads the whole file says why.

    Raises:
        UserError: a name that no file has, with the nearest one that some have.
    """
    suites, development = _scorers(config.suites), _scorers(config.development)
    if suites is None or development is None:
        return
    for name, members in config.checkpoints.items():
        check_checkpoints(name, members, suites, development)
    dropped = {one for members in config.checkpoints.values() for one in members}
    there = [name for names in suites.values() for name in names if name not in dropped]
    wanted = chosen_scorers(config, [*there, *config.checkpoints])
    # Whether there is a best single generator is known when all candidates are.
    selectors = [*UNSCORED, *wanted, *(WEIGHTED + name for name in wanted if config.weighted)]
    compared_pairs(config, selectors, wanted)
    if config.examples.count:
        example_pairs(config.examples, selectors, [])


def _scorers(suites: Mapping[str, SuiteFiles]) -> dict[str, list[str]] | None:
    """The scorers of each suite; None if they cannot be told."""
    found: dict[str, list[str]] = {}
    for name, files in suites.items():
        rows = [first_row(path) for path in (files.path, *files.joined)]
        names = [scorers_of(row, "candidates") for row in rows]
        if None in names:
            return None
        found[name] = [one for held in names for one in held or ()]
    return found


def first_row(path: str) -> Any:
    """The first value of a file of records; None if it cannot be read."""
    try:
        return next((row.value for row in islice(stream_json(path), 1)), None)
    except (OSError, UserError):  # reading the file as a whole shows it again
        return None


def scorers_of(row: Any, *inside: str) -> list[str] | None:
    """The scorers of a record, or of the first of its parts; None if they cannot be told."""
    for field in inside:
        parts: Sequence[Any] = row.get(field) or () if isinstance(row, dict) else ()
        row = parts[0] if isinstance(parts, list) and parts else None
    if not isinstance(row, dict):
        return None
    scores: Iterable[str] | None = row.get("scores") or {}
    return list(scores) if isinstance(scores, dict) else None
