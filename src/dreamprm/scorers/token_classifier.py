"""TRL's PRMs: `AutoModelForTokenClassification`, read at the separator after each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel

from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.models.processing import PRMProcessor
from dreamprm.scorers.published import Head, Layout, LayoutProcessor, TokenRow, difference, stored_tensors


@dataclass(frozen=True)
class TokenClassifier(Layout):
    """The tokenizer's first token if it has one, the question, each step and a separator, where it is read.

        log-odds = logit(class 1) - logit(class 0)        or the one logit of a classifier with one class

    Question, steps and separators are tokenised one by one, without a chat, as TRL's PRMTrainer did. Source:
    that trainer (removed in September 2026).
    """

    heads: ClassVar[tuple[str, ...]] = ("score.",)
    separator: str = setting("\n", "what was put after each step in training (TRL's step_separator)")

    @classmethod
    def recognises(cls, config: dict[str, Any]) -> bool:
        """See `Layout.recognises`."""
        return any(str(one).endswith("ForTokenClassification") for one in config.get("architectures") or [])

    def head(self, folder: Path, backbone: PreTrainedModel, processor: PRMProcessor) -> Head:
        """See `Layout.head`."""
        found = stored_tensors(folder, ("score.weight", "score.bias"))
        weight = found["score.weight"]
        if weight is None:
            raise UserError(f"{folder} has no head of a token classifier (score.weight)")
        return difference(weight, found["score.bias"], where="score.weight")

    def row(self, processor: PRMProcessor, question: str, n_images: int, steps: Sequence[str]) -> TokenRow:
        """See `Layout.row`."""
        assert isinstance(processor, LayoutProcessor)
        del n_images
        first = processor.tokenizer.bos_token_id
        ids = [] if first is None else [int(first)]
        ids += processor.tokens(question)
        separator, reads = processor.tokens(self.separator), []
        if not separator:
            raise UserError(f"layout trl: the separator {self.separator!r} has no tokens")
        for step in steps:
            ids = ids + processor.tokens(step) + separator
            reads.append(len(ids) - 1)
        return TokenRow(ids, reads)
