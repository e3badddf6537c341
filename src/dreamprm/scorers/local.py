"""Models that compute here: all candidates of a task go through the model together, shared parts once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.files.content import content_key
from dreamprm.models.candidate_scoring import PassLimits, can_share_prefixes, scored_questions
from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.likelihood import likelihood_of_questions
from dreamprm.models.prefix_tree import question_tree
from dreamprm.models.prm import PRM
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer


@dataclass(frozen=True)
class LocalScorer(StepScorer):
    """A model in this process and how its scores are read.

    Attributes:
        prm: in evaluation mode, where it computes.
        gives: see `StepScorer`.
        files: digests of the files that it was loaded from by name, for `model` and, if it was read from
            elsewhere, `processor`.
        changed: how they differ from what was saved, in words (`changed_since_saved`).
        limits: of one forward pass.
        settings: what else its scores depend on, as JSON values.
    """

    prm: PRM
    gives: str
    files: Mapping[str, Mapping[str, str | None]]
    changed: str | None = None
    limits: PassLimits = PassLimits()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """The digests of the model's files, and the settings."""
        return {
            "model": content_key(self.files["model"]),
            "scores": self.gives,
            **self.settings,
            "files": self.files,
        }

    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]:
        """Score every candidate; all of `tasks` are encoded before the first pass."""
        results: list[list[CandidateScores | UserError | None]] = []
        places: list[tuple[int, list[int]]] = []  # of each encoded task: its number, its candidates' numbers
        encoded: list[list[EncodedCoT]] = []
        for number, task in enumerate(tasks):
            found, chains = self._encoded(task)
            results.append(found)
            if chains:
                places.append((number, [place for place, one in enumerate(found) if one is None]))
                encoded.append(chains)
        values_of = likelihood_of_questions if self.gives == "likelihood" else scored_questions
        for index, scores in values_of(self.prm, encoded, limits=self.limits):
            number, members = places[index]
            for place, log_odds, tokens in zip(members, scores, self._tokens(encoded[index]), strict=True):
                results[number][place] = self._result(log_odds, tokens)
        assert all(one is not None for found in results for one in found)
        return [[one for one in found if one is not None] for found in results]

    def _encoded(
        self, task: ScoringTask
    ) -> tuple[list[CandidateScores | UserError | None], list[EncodedCoT]]:
        """For each candidate, why it cannot be encoded, or None; and those that can, in order."""
        processor = self.prm.processor
        try:
            images = processor.opened(task.images)
        except UserError as error:
            return [error] * len(task.candidates), []
        found: list[CandidateScores | UserError | None] = []
        chains: list[EncodedCoT] = []
        for steps in task.candidates:
            try:
                chains.append(processor.encode(task.question, images, steps))
                found.append(None)
            except UserError as error:
                found.append(error)
        return found, chains

    def _tokens(self, chains: Sequence[EncodedCoT]) -> list[int]:
        """How many tokens the model reads for each, as `scored_questions` computes them."""
        if self.gives == "likelihood" or not can_share_prefixes(self.prm.backbone):
            return [sum(len(row.input_ids) for row in chain.rows) for chain in chains]
        tree = question_tree(chains)
        tokens = [len(branch) for branch in tree.branches]
        return [tokens[0] + len(tree.prefix.input_ids), *tokens[1:]]

    def _result(self, log_odds: Sequence[float], tokens: int) -> CandidateScores | UserError:
        if not all(map(math.isfinite, log_odds)):
            return UserError(
                f"the model gives log-odds {list(log_odds)}, but scores must be finite: check that its "
                "training did not diverge, or set precision=fp32"
            )
        taken = log_odds[-1:] if self.gives == "response" else log_odds
        return CandidateScores(tuple(taken), tokens)
