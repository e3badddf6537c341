"""Qwen2.5-Math-PRM: a two-class head of two layers, read at a step token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel

from dreamprm.config.errors import UserError
from dreamprm.models.processing import PRMProcessor
from dreamprm.scorers.published import (
    Head,
    Layout,
    LayoutProcessor,
    TokenRow,
    difference,
    places_of,
    stored_tensors,
)

STEP_TOKEN = "<extra_0>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True)
class StepTokenClassifier(Layout):
    """One chat: the system's turn, the question, the steps with `<extra_0>` after each, where they are read.

        log-odds = w_2 . relu(W_1 h + b_1) + b_2,    w_2, b_2: class 1 (right) minus class 0

    The chat is the tokenizer's template's. Source: the model cards of Qwen2.5-Math-PRM-7B and
    Qwen2.5-Math-7B-PRM800K (architecture Qwen2ForProcessRewardModel).
    """

    heads: ClassVar[tuple[str, ...]] = ("score.",)

    @classmethod
    def recognises(cls, config: dict[str, Any]) -> bool:
        """See `Layout.recognises`."""
        return "Qwen2ForProcessRewardModel" in (config.get("architectures") or [])

    def head(self, folder: Path, backbone: PreTrainedModel, processor: PRMProcessor) -> Head:
        """See `Layout.head`."""
        names = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")
        found = stored_tensors(folder, names)
        first, offset, weight, bias = (found[name] for name in names)
        if first is None or offset is None or weight is None:
            raise UserError(
                f"{folder} has no step head (score.0 and score.2), as Qwen2ForProcessRewardModel does"
            )
        layer = nn.Linear(first.shape[1], first.shape[0])
        with torch.no_grad():
            layer.weight.copy_(first)
            layer.bias.copy_(offset)
        head = difference(weight, bias, where="score.2.weight")
        return Head(head.weight, head.bias, nn.Sequential(layer, nn.ReLU()))

    def row(self, processor: PRMProcessor, question: str, n_images: int, steps: Sequence[str]) -> TokenRow:
        """See `Layout.row`."""
        assert isinstance(processor, LayoutProcessor)
        del n_images  # the backbone takes none
        chat = processor.tokenizer.apply_chat_template(
            [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": question},
                {"role": "assistant", "content": "".join(step + STEP_TOKEN for step in steps)},
            ],
            tokenize=False,
            add_generation_prompt=False,
        )
        ids = processor.tokens(chat)
        reads = places_of(ids, processor.token_id(STEP_TOKEN), steps, shown=STEP_TOKEN)
        return TokenRow(ids[: reads[-1] + 1], reads)
