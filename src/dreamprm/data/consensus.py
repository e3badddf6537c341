"""Consensus filtering: a second labelling of the same steps, and what becomes of those where both differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dreamprm.config.errors import UserError
from dreamprm.data.fields import Fields
from dreamprm.data.step_scores import probability, read_scores

ConsensusOn = Literal["first_error", "steps"]
Labels = tuple[float | None, ...]

_RIGHT_ABOVE = 0.5  # of the second labelling: the side that a judge's probability is on


@dataclass(frozen=True)
class Consensus:
    """Keeps what two labellings agree on: the labels (Monte-Carlo shares), and those of a judge or critic.

    A step is right by its label y if y > threshold, and by the second labelling if its probability is above
    1/2.

        first_error   a CoT is kept if the first step that each calls wrong is the same one, or neither calls
                      any wrong
        steps         a step keeps its label if both call it right or both call it wrong; a CoT of which no
                      step does is left out

    A step that one of the two does not label is no error to it, and is not one on which both agree.

    Args:
        name: the second labelling in each record: a scorer's under `scores`, as `dreamprm score` writes it,
            or a field with a list of numbers in [0, 1], true, false or null, one per step.
        on: `first_error` or `steps`.
        threshold: of the labels, in [0, 1).

    Raises:
        UserError: another `on`.

    Source: Zhang et al., arXiv 2501.07301, section 3: CoTs on which Monte-Carlo labels and a judge agree
    about where the error is. `steps` is the finer filter that their comparison suggests, not theirs.
    """

    name: str
    on: ConsensusOn = "first_error"
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.on not in ("first_error", "steps"):
            raise UserError(f"consensus on must be 'first_error' or 'steps', got {self.on!r}")

    def agreed(self, fields: Fields, labels: Labels) -> Labels | None:
        """The record's labels on which both agree; None if the CoT is left out.

        Raises:
            DataError: the record has no second labelling of this name, or one of another form.
        """
        second = self._second(fields, len(labels))
        ours = [None if label is None else label > self.threshold for label in labels]
        theirs = [None if share is None else share > _RIGHT_ABOVE for share in second]
        if self.on == "first_error":
            return labels if _first_error(ours) == _first_error(theirs) else None
        kept = tuple(label if a == b else None for label, a, b in zip(labels, ours, theirs, strict=True))
        return None if all(label is None for label in kept) else kept

    def _second(self, fields: Fields, steps: int) -> Sequence[float | None]:
        scores = read_scores(fields, steps)
        if self.name in scores:
            log_odds = scores[self.name]
            if len(log_odds) != steps:
                raise fields.error(
                    f"scores.{self.name}",
                    f"log-odds of {steps} steps, as two labellings of steps are compared",
                    list(log_odds),
                )
            return [probability(value) for value in log_odds]
        if self.name not in fields:
            known = ", ".join(map(repr, scores)) or "none"
            allowed = (
                "a second labelling for data.consensus: a list with one entry per step, or a scorer's under "
                f"'scores' (there are: {known})"
            )
            if self.name in fields.values:
                raise fields.error(self.name, allowed)
            raise fields.missing(self.name, allowed)
        given = fields.values[self.name]
        if isinstance(given, list):
            given = [float(one) if isinstance(one, bool) else one for one in given]
        return fields.with_values({self.name: given}).probabilities(self.name, steps)


def _first_error(right: Sequence[bool | None]) -> int | None:
    """The place of the first step that is wrong; None without one."""
    return next((place for place, one in enumerate(right) if one is False), None)
