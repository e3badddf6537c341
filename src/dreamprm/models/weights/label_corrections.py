"""One learned correction per step label: the upper level repairs labels instead of weighting domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dreamprm.config.choices import CORRECTED
from dreamprm.config.errors import UserError
from dreamprm.models.weights.base import NO_MEMORY, Tensors, Weights, check_domains

CORRECTIONS = "label_corrections"


class LabelCorrections(Weights):
    """y_i = label_i + a_i, in [0, 1]: the target of step i, a function of alpha = (a_i); weights stay 1.

        inner loss = mean over the batch's domains k of the mean over the steps i of k of (p_i - y_i)^2

    Use it if single labels are suspect (Monte-Carlo shares of few rollouts, of a weak generator), and each
    CoT is visited often enough to be judged. Do not use it for one epoch over many CoTs, or where whole data
    sets are suspect (use DomainWeights).

    All corrections are 0 at the start, so that training starts as the vanilla PRM. `admissible` takes those
    that would lead out of [0, 1] back to the bound after each upper step: the slope of y_i in a_i is 1
    everywhere, so that a label of exactly 0 or 1 can be corrected too. The upper level's weight decay draws
    labels back to those given.

    alpha is one dense tensor; with the two moments of the upper AdamW it takes 12 bytes per label. AdamW
    makes steps of the size of its learning rate whatever the gradient's is, and goes on after a visit, by its
    momentum: at the usual betas, one visit of a step moves its label by up to some 30 upper.lr.

    Args:
        domains: the domains in the order of the batches' domain indices.
        labels: `(S,)`, the labels of all steps of the training table, one CoT after another; NaN: none.
        rows: `(S,)`, the row number of each step's CoT, ascending.
        count: number of CoTs in the table.
        corrected: `intermediate`: every label but that of a CoT's last step, which says whether the answer is
            right; `all`: that one too.

    Raises:
        UserError: no domain or a repeated one, another `corrected`, or no label to correct.

    Source: DreamPRM-Code, arXiv 2512.15000, which makes the labels of intermediate steps variables of the
    upper level, initialised with the Monte-Carlo labels, and trusts those of last steps. (Its public code
    learns weights of steps in their place.) Corrections in place of labels, and their bounds, are ours.
    """

    per_instance: ClassVar[bool] = False
    corrects_labels: ClassVar[bool] = True

    def __init__(
        self,
        domains: Sequence[str],
        labels: ArrayLike,
        rows: ArrayLike,
        *,
        count: int,
        corrected: str = "intermediate",
    ) -> None:
        check_domains(domains)
        if corrected not in CORRECTED:
            raise UserError(f"correct must be one of {', '.join(CORRECTED)}, got {corrected!r}")
        self.names = tuple(domains)
        values, of_row = np.asarray(labels, dtype=np.float64), np.asarray(rows, dtype=np.int64)
        known = ~np.isnan(values)
        movable = known.copy()
        if corrected == "intermediate":
            movable[np.flatnonzero(np.diff(of_row, append=-1))] = False  # the last step of each CoT
        if not movable.any():
            raise UserError(
                "weights.kind=labels has no label to correct: no CoT has a labelled step before its last "
                "one; set weights.correct=all, or another weights.kind"
            )
        self._movable = movable
        # For each labelled step the number of its correction, -1 without one; a CoT's are side by side.
        numbers = np.where(movable, np.cumsum(movable) - 1, -1)[known]
        firsts = np.cumsum(np.bincount(of_row[known], minlength=count)) - np.bincount(
            of_row[known], minlength=count
        )
        self._tables = {torch.device("cpu"): (torch.from_numpy(numbers), torch.from_numpy(firsts))}
        given = torch.from_numpy(values[movable]).float()
        self._bounds = {torch.device("cpu"): (-given, 1 - given)}
        self._given = given

    def init(self) -> dict[str, Tensor]:
        """Corrections `{"label_corrections": (M,) float32}`, all 0."""
        return {CORRECTIONS: torch.zeros_like(self._given)}

    def weights(self, alpha: Tensors, batch: Mapping[str, Any], losses: Tensor) -> Tensor:
        """`(n,)`, all 1."""
        del alpha, batch
        return torch.ones_like(losses)

    def labels(self, alpha: Tensors, batch: Mapping[str, Any]) -> Tensor:
        """`(S,)`, the corrected labels of the batch's steps, differentiable in alpha.

        Args:
            batch: `labels` (S,); `cot` (S,), each step's CoT in the batch, ascending; `cots` (c,), their row
                numbers in the training table.
        """
        corrections, cot = alpha[CORRECTIONS], batch["cot"]
        labels = batch["labels"].to(corrections.dtype)
        numbers, firsts = self._on(self._tables, cot.device)
        place = torch.arange(cot.shape[0], device=cot.device) - torch.searchsorted(cot, cot)  # in its CoT
        number = numbers[firsts[batch["cots"][cot]] + place]
        # without a branch on the values: which steps have a correction does not depend on alpha
        return labels + corrections[number.clamp_min(0)] * (number >= 0)

    def admissible(self, alpha: Tensors) -> dict[str, Tensor]:
        """The corrections, each taken to where its label is in [0, 1]."""
        corrections = alpha[CORRECTIONS]
        least, most = self._on(self._bounds, corrections.device)
        return {CORRECTIONS: torch.clamp(corrections, least.to(corrections), most.to(corrections))}

    def corrected(self, alpha: Tensors) -> np.ndarray:
        """`(S,)`: of every step of the table, what was added to its label; NaN where nothing could be."""
        changes = np.full(self._movable.shape, np.nan)
        changes[self._movable] = alpha[CORRECTIONS].detach().cpu().double().numpy()
        return changes

    def named(self, alpha: Tensors, memory: Tensors = NO_MEMORY) -> dict[str, float]:
        """The weights of the domains, all 1."""
        del alpha, memory
        return dict.fromkeys(self.names, 1.0)

    @staticmethod
    def _on(
        tensors: dict[torch.device, tuple[Tensor, Tensor]], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """A pair of constant tensors on a device, where it stays."""
        if device not in tensors:
            first, second = tensors[torch.device("cpu")]
            tensors[device] = first.to(device), second.to(device)
        return tensors[device]
