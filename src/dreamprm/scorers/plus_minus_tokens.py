"""Math-Shepherd: a language model whose next token after a step's mark is + or -."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.models.processing import PRMProcessor
from dreamprm.scorers.published import Head, Layout, LayoutProcessor, TokenRow, places_of, token_difference


@dataclass(frozen=True)
class PlusMinusTokens(Layout):
    """The question, a space, the steps with a mark after each; at a mark, + and - are compared.

        log-odds = logit(+) - logit(-)        both as the tokenizer writes them in "+ -"

    The mark is known by its last token. Source: the model card of math-shepherd-mistral-7b-prm.
    """

    mark: str = setting("ки", "what stands after each step, where the step is read")

    @classmethod
    def recognises(cls, config: dict[str, Any]) -> bool:
        """See `Layout.recognises`: its config is that of any language model."""
        del config
        return False

    def head(self, folder: Path, backbone: PreTrainedModel, processor: PRMProcessor) -> Head:
        """See `Layout.head`."""
        del folder
        assert isinstance(processor, LayoutProcessor)
        ids = processor.tokens("+ -")
        if len(ids) != 2:
            raise UserError(f"the tokenizer writes '+ -' as {len(ids)} tokens; Math-Shepherd's has two")
        return token_difference(backbone, *ids)

    def row(self, processor: PRMProcessor, question: str, n_images: int, steps: Sequence[str]) -> TokenRow:
        """See `Layout.row`."""
        assert isinstance(processor, LayoutProcessor)
        del n_images
        text = f"{question} " + "\n".join(f"{step} {self.mark}" for step in steps)
        ids = processor.tokens(text, special=True)
        mark = processor.tokens(self.mark)
        if not mark:
            raise UserError(f"layout math_shepherd: the mark {self.mark!r} has no tokens")
        return TokenRow(ids, places_of(ids, mark[-1], steps, shown=self.mark))
