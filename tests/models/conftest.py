"""Helpers of the model tests."""

from collections.abc import Callable, Sequence

import pytest
import torch

from dreamprm.models import PRM, EncodedCoT


@pytest.fixture
def step_logits() -> Callable[[PRM, Sequence[EncodedCoT]], torch.Tensor]:
    """Step logits of encoded CoTs, scored as one batch without gradients."""

    def run(prm: PRM, encoded: Sequence[EncodedCoT]) -> torch.Tensor:
        with torch.no_grad():
            return prm(prm.processor.collate(encoded))

    return run
