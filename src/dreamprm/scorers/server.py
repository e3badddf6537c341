"""A PRM that `dreamprm serve` serves, asked over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dreamprm.client import Client, ServerError, score_request, scored_candidates
from dreamprm.config.errors import UserError
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer

CONCURRENCY = 16
"""Requests at the same time: the server makes batches of them."""


class ServerScorer(StepScorer):
    """A served PRM; each task is one request. Its token is in the environment variable DREAMPRM_TOKEN.

    An answer of another model than the one that was served at first is refused: the server was started anew
    meanwhile.

    Args:
        url: the server's address.
        client: asks it; None: one is made.

    Raises:
        UserError: the address is not one, nobody answers there, or it is no server of ours.
    """

    def __init__(self, url: str, *, client: Client | None = None) -> None:
        self._client = Client(url) if client is None else client
        model = self._client.model()
        if not isinstance(model.get("identity"), str) or model.get("gives") not in ("step", "response"):
            raise UserError(f"server={url} is no `dreamprm serve`: its /v1/models names no PRM of ours")
        self.gives = str(model["gives"])
        self.served: str = model["identity"]
        self.model = str(model.get("id"))

    def identity(self) -> dict[str, Any]:
        """The served model's, wherever the server is."""
        return {"served": self.served, "scores": self.gives}

    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]:
        """Ask for every task.

        Raises:
            ServerError: the server does not answer, fails, refuses the token, or serves another model now.
        """
        with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="ask") as pool:
            return list(pool.map(self._scores, tasks))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _scores(self, task: ScoringTask) -> list[CandidateScores | UserError]:
        try:
            request = score_request(task.question, task.images, task.candidates) | {"errors": "each"}
        except UserError as error:  # an image that is not there
            return [error] * len(task.candidates)
        try:
            answer = self._client.ask("/v1/score", request)
        except ServerError as error:
            if error.status in (413, 422):  # the fault lies in this task
                return [error] * len(task.candidates)
            raise
        if answer.get("identity") != self.served:
            raise ServerError(
                f"{self._client.url} serves another model now than at the beginning (identity "
                f"{answer.get('identity')}, not {self.served}); start again with another output"
            )
        tokens = answer.get("usage", {}).get("tokens", 0)
        results: list[CandidateScores | UserError] = []
        for one in scored_candidates(answer, task.candidates):
            if "error" in one:
                results.append(UserError(str(one["error"])))
                continue
            # The server counts the tokens of a request; they stand with its first candidate.
            results.append(CandidateScores(tuple(map(float, one["log_odds"])), int(tokens)))
            tokens = 0
        return results
