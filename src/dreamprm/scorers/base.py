"""What all scorers have in common: questions with candidates in, the log-odds of their steps out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import ImageSource


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """One question and its candidates.

    Attributes:
        question: the question's text.
        images: shown before it, in order: paths, the bytes of files, or Pillow images, as
            `dreamprm.data.image_decoder` reads them.
        candidates: the steps of each candidate, at least one step each.
    """

    question: str
    images: tuple[ImageSource, ...]
    candidates: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """The scores of one candidate.

    Attributes:
        log_odds: of each step; a single value if the scorer `gives` one per response.
        tokens: how many the model read for this candidate. What the candidates of a task share and is read
            once counts for the first of them.
    """

    log_odds: tuple[float, ...]
    tokens: int


class StepScorer(ABC):
    """Scores candidates.

    Attributes:
        gives: `step`, log-odds of each step; `response`, those of the whole response (an outcome reward
            model); `likelihood`, the mean log-likelihood of its tokens (nats per token).
    """

    gives: str

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What its scores depend on besides the tasks, as JSON values: journals of scores are keyed by it."""

    @abstractmethod
    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]:
        """Score every candidate, in the order given.

        Returns:
            For each task, one result per candidate. A candidate that cannot be scored (too many tokens, or an
            image of its task broken) has the error in its place; the others are scored.

        Raises:
            UserError: nothing can be scored: the server refuses the key, for example.
        """

    def close(self) -> None:
        """Give up what it holds, such as connections. Nothing to do for most."""
