"""Splits converted records by question, so that a question and its near-copies are on one side only.

    draw of a group = blake2b(seed, smallest key of its questions) / 2^56, in [0, 1)

A group is a set of near-copies: questions with the same images whose words, without case and punctuation, are
the same, or share at least four fifths of their runs of three words (Jaccard's index). Pairs are found by
banded min-hashes (Broder, 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3): 32 bands of 4 find a
pair with index .8 with probability 1 - 5e-8. Of questions with a band in common, the first 32 are compared
with, so among very many made from one template a pair may be missed. The shares are met on average, by
groups.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.errors import DataError, UserError
from dreamprm.files.atomic import write_lines_atomically

NEAR = 0.8
"""Jaccard's index from which questions are near-copies."""

_BANDS, _ROWS, _COMPARED = 32, 4, 32
_RUN = 3  # words
_PRIME = (1 << 61) - 1
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Part:
    """One part of a split.

    Attributes:
        path: its file.
        records, questions: how many it has; near-copies count as one question.
    """

    path: Path
    records: int
    questions: int

    def line(self) -> str:
        """The line to print."""
        return f"{self.path}: {self.records} records of {self.questions} questions"


def part_path(path: Path, name: str) -> Path:
    """The file of one part of a split."""
    return path.with_name(f"{path.stem}_{name}.jsonl")


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse shares that do not add up, or that name no files.

    Raises:
        UserError: fewer than two shares, one that is not in (0, 1), or a sum other than 1.
    """
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise UserError(f"shares.{name} must be a number > 0 and < 1, got {share!r}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
            raise UserError(f"shares: {name!r} cannot be part of a file's name; use letters, digits, . _ -")
    if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UserError(f"shares must name at least two parts and sum to 1, got {dict(shares)}")


def split_file(path: Path, shares: Mapping[str, float], *, seed: int) -> list[Part]:
    """Write each part of a file of records next to it, as STEM_NAME.jsonl.

    Args:
        path: JSON Lines of our own records; it stays as it is.
        shares: by part name; they sum to 1.
        seed: of the assignment.

    Raises:
        DataError: a part that no question falls into.
    """
    with path.open(encoding="utf-8") as file:
        questions = [_identity(json.loads(line)) for line in file]
    groups = near_copies(questions)
    names, bounds = list(shares), np.cumsum(list(shares.values()))
    placed = np.searchsorted(bounds, _draws(questions, groups, seed), side="right")
    placed = np.minimum(placed, len(names) - 1)  # a sum of shares may round to below 1
    parts = []
    for number, name in enumerate(names):
        chosen = placed == number
        if not chosen.any():
            raise DataError(
                f"no question falls into {name} ({shares[name]:g} of {len(set(groups))}); change the seed or"
                " the shares"
            )
        part = part_path(path, name)
        write_lines_atomically(part, _lines(path, chosen))
        parts.append(Part(part, int(chosen.sum()), len(set(np.asarray(groups)[chosen].tolist()))))
    return parts


def near_copies(questions: Sequence[tuple[str, tuple[str, ...]]]) -> list[int]:
    """For each question, the number of its group: the place of the first question in it.

    Args:
        questions: texts with the names of their image files.
    """
    parents: list[int] = []
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    texts: list[tuple[int, frozenset[int], tuple[str, ...]]] = []
    for place, (text, images) in enumerate(questions):
        words = _WORD.findall(text.casefold())
        key = (" ".join(words) or text, images)
        parents.append(first.setdefault(key, place))
        if first[key] == place:
            texts.append((place, _runs(words), images))
    coefficients = np.random.default_rng(0).integers(1, _PRIME, size=(2, _BANDS * _ROWS), dtype=np.uint64)
    buckets: dict[tuple[int, bytes, tuple[str, ...]], list[tuple[int, frozenset[int]]]] = {}
    for place, runs, images in texts:
        if not runs:
            continue
        compared: set[int] = set()
        for band, values in enumerate(_min_hashes(runs, coefficients).reshape(_BANDS, _ROWS)):
            others = buckets.setdefault((band, values.tobytes(), images), [])
            for other, theirs in others:
                if other in compared:
                    continue
                compared.add(other)
                if _find(parents, other) != _find(parents, place) and _index(runs, theirs) >= NEAR:
                    low, high = sorted((_find(parents, other), _find(parents, place)))
                    parents[high] = low
            if len(others) < _COMPARED:
                others.append((place, runs))
    return [_find(parents, place) for place in range(len(parents))]


def _identity(record: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    images = record.get("images") or [record["image"]] if record.get("image") else record.get("images") or []
    return str(record["question"]), tuple(Path(image).name for image in images)


def _runs(words: Sequence[str]) -> frozenset[int]:
    """Hashes of the runs of three words; of a shorter text, of all of it."""
    runs = [" ".join(words[k : k + _RUN]) for k in range(max(1, len(words) - _RUN + 1))] if words else []
    return frozenset(
        int.from_bytes(hashlib.blake2b(run.encode(), digest_size=7).digest(), "big") for run in runs
    )


def _min_hashes(runs: frozenset[int], coefficients: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(BANDS * ROWS,) the smallest of each of that many hashes of the runs."""
    values = np.fromiter(runs, dtype=np.uint64, count=len(runs))[:, None]
    with np.errstate(over="ignore"):  # hashes of 64 bits wrap around
        mixed = (values * coefficients[0] + coefficients[1]) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))).min(axis=0))


def _index(first: frozenset[int], second: frozenset[int]) -> float:
    return len(first & second) / len(first | second)


def _find(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _draws(
    questions: Sequence[tuple[str, tuple[str, ...]]], groups: Sequence[int], seed: int
) -> NDArray[np.float64]:
    """A number in [0, 1) for each question, the same for all of its group."""
    smallest: dict[int, str] = {}
    for (text, images), group in zip(questions, groups, strict=True):
        key = json.dumps([text, images])
        smallest[group] = min(smallest.get(group, key), key)
    draws = {group: _draw(f"{seed} {key}") for group, key in smallest.items()}
    return np.array([draws[group] for group in groups])


def _draw(key: str) -> float:
    """In [0, 1), evenly over keys."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big") / 2**56


def _lines(path: Path, chosen: Iterable[bool]) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line, taken in zip(file, chosen, strict=True):
            if taken:
                yield line
