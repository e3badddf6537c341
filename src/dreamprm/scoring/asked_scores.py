"""Turns a stream of chains of thought into scores by asking a scorer that does not compute here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from PIL import Image

from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import ImageSource
from dreamprm.models.images import ImageStore
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer
from dreamprm.scoring.chain_scores import Chain, Refused

P = TypeVar("P")


def asked_chains(
    scorer: StepScorer,
    chains: Iterable[Chain[P]],
    *,
    images: ImageStore,
    window: int,
    refused: Refused[P],
) -> Iterator[tuple[P, list[float]]]:
    """The values of every chain that is not known, in the stream's order.

    Chains of one question that follow each other are one task; equal ones are asked about once.

    Args:
        scorer: a critic or a server.
        chains: a stream of any length, of which `window` at a time are handed over.
        images: says which images are missing, broken or cut off.
        refused: called with a chain that cannot be scored and why.

    Yields:
        (the chain's place, its values).

    Raises:
        UserError: nothing can be scored.
    """
    held: list[Chain[P]] = []
    for chain in chains:
        if chain.known:
            continue
        held.append(chain)
        if len(held) >= window:
            yield from _asked(scorer, held, images, refused)
            held = []
    yield from _asked(scorer, held, images, refused)


def _asked(
    scorer: StepScorer, chains: Sequence[Chain[P]], images: ImageStore, refused: Refused[P]
) -> Iterator[tuple[P, list[float]]]:
    groups: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], list[Chain[P]]]] = {}
    for chain in chains:
        groups.setdefault((chain.question, chain.images), {}).setdefault(chain.steps, []).append(chain)
    tasks: list[ScoringTask] = []
    members: list[list[list[Chain[P]]]] = []
    for (question, paths), by_steps in groups.items():
        try:
            shown = _shown(paths, images)
        except UserError as error:
            for same in by_steps.values():
                for chain in same:
                    refused(chain, error)
            continue
        tasks.append(ScoringTask(question, shown, tuple(by_steps)))
        members.append(list(by_steps.values()))
    for found, candidates in zip(scorer.score(tasks) if tasks else [], members, strict=True):
        for result, same in zip(found, candidates, strict=True):
            for chain in same:
                if isinstance(result, CandidateScores):
                    yield chain.place, list(result.log_odds)
                else:
                    refused(chain, result)


def _shown(paths: tuple[str, ...], images: ImageStore) -> tuple[ImageSource, ...]:
    """What the scorer is given: the files themselves, unless one is cut off or all are left out."""
    opened = images.open_all(paths)
    if len(opened) == len(paths) and images.cut_off(paths) is None:
        return paths
    return tuple(one for one in opened if isinstance(one, Image.Image))
