"""One learned weight per training CoT: a table of raw parameters as long as the training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dreamprm.config.errors import UserError
from dreamprm.models.weights.base import (
    NO_MEMORY,
    Tensors,
    Weights,
    check_domains,
    check_normalisation,
    normalised,
    raw_start,
)

INSTANCE_WEIGHTS = "instance_weights"


class InstanceTable(Weights):
    """Weights of N CoTs, a function of the raw parameters alpha_1..alpha_N; `normalised` gives the forms.

    Use it if individual CoTs are suspect and each is visited often enough to be judged: a weight is updated
    when its CoT is in a window, so a run needs many epochs. Do not use it for one epoch over a million CoTs
    (use InstanceNet or DomainWeights).

    alpha is one dense tensor; with the two moments of the upper AdamW it takes 12 bytes per CoT. Each use of
    softplus or softmax passes once over the table for its mean; `none` reads the batch's entries only. AdamW
    also moves entries that have not been in any batch: normalisation and momentum give them gradients, the
    same for all of them, so their ratios to one another do not change.

    Args:
        rows: for each domain, the row numbers of its CoTs in the training table; together 0..N-1, each once.
        normalisation: one of `NORMALISATIONS`.

    Raises:
        UserError: no domain, an unknown normalisation, or row numbers that are not 0..N-1.

    Source: DreamPRM-1.5's instance table (one free weight per instance); softplus and mean as in DreamPRM.
    """

    per_instance: ClassVar[bool] = True

    def __init__(self, rows: Mapping[str, ArrayLike], normalisation: str = "softplus") -> None:
        check_domains(list(rows))
        check_normalisation(normalisation)
        self.names = tuple(rows)
        self.normalisation = normalisation
        parts = [np.asarray(part, dtype=np.int64) for part in rows.values()]
        numbers = np.concatenate(parts)
        if not np.array_equal(np.sort(numbers), np.arange(numbers.size)):
            raise UserError(
                f"the rows of an instance table must be 0..{numbers.size - 1}, each in one "
                "domain; give RecordTable.domains of the whole training table"
            )
        self._counts = torch.tensor([part.size for part in parts])
        domains = np.empty(numbers.size, dtype=np.int64)
        domains[numbers] = np.repeat(np.arange(len(parts)), [part.size for part in parts])
        self._domains = torch.from_numpy(domains)  # (N,) each CoT's domain

    @property
    def saturates(self) -> bool:
        """Whether weights stop responding to alpha where it is large: unless they are alpha itself."""
        return self.normalisation != "none"

    def init(self) -> dict[str, Tensor]:
        """Raw parameters `{"instance_weights": (N,) float32}` at which every weight is 1."""
        return {INSTANCE_WEIGHTS: raw_start(len(self._domains), self.normalisation)}

    def weights(self, alpha: Tensors, batch: Mapping[str, Any], losses: Tensor) -> Tensor:
        """`(n,)`, the weights of the batch's CoTs, `batch["cots"]` (n,) long."""
        del losses  # a free weight does not depend on them
        return normalised(alpha[INSTANCE_WEIGHTS], self.normalisation)[batch["cots"]]

    def by_instance(self, alpha: Tensors) -> Tensor:
        """`(N,)`, the weight of every CoT, detached."""
        return normalised(alpha[INSTANCE_WEIGHTS].detach(), self.normalisation)

    def named(self, alpha: Tensors, memory: Tensors = NO_MEMORY) -> dict[str, float]:
        """The mean weight of each domain's CoTs."""
        del memory
        weights = self.by_instance(alpha).cpu().double()
        means = torch.bincount(self._domains, weights, minlength=len(self.names)) / self._counts
        return dict(zip(self.names, means.tolist(), strict=True))
