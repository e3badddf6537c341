"""VisualPRM: a chat with a turn for each step, which the model answers by + or -."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel

from dreamprm.config.errors import UserError
from dreamprm.models.processing import PRMProcessor
from dreamprm.scorers.published import Head, Layout, LayoutProcessor, TokenRow, token_difference

_MARK = "\u2402verdict\u2403"


@dataclass(frozen=True)
class PlusMinusTurns(Layout):
    """The question and the first step in the first turn, a further step in each other; all answered by +.

        ### Question:\\n[images]\\n[question]\\n\\n### Solution Process:\\n[step 1]     -> +
        [step i]                                                                    -> +
        log-odds = logit(+) - logit(-)        where the answer would begin

    The chat is the tokenizer's template's. Source: the model card of VisualPRM-8B and the training data of
    the InternVL repository. VisualPRM-8B itself, whose layers are code of its own, is not read here.
    """

    takes_images: ClassVar[bool] = True

    @classmethod
    def recognises(cls, config: dict[str, Any]) -> bool:
        """See `Layout.recognises`: its config is that of any chat model."""
        del config
        return False

    def head(self, folder: Path, backbone: PreTrainedModel, processor: PRMProcessor) -> Head:
        """See `Layout.head`."""
        del folder
        assert isinstance(processor, LayoutProcessor)
        return token_difference(backbone, processor.token_id("+"), processor.token_id("-"))

    def row(self, processor: PRMProcessor, question: str, n_images: int, steps: Sequence[str]) -> TokenRow:
        """See `Layout.row`."""
        assert isinstance(processor, LayoutProcessor)
        messages: list[dict[str, Any]] = []
        for number, step in enumerate(steps):
            content: Any = step
            if not number:
                text = f"{question}\n\n### Solution Process:\n{step}"
                content = f"### Question:\n{text}"
                if n_images:
                    content = [
                        {"type": "text", "text": "### Question:\n"},
                        *[{"type": "image"}] * n_images,
                        {"type": "text", "text": f"\n{text}"},
                    ]
            messages += [{"role": "user", "content": content}, {"role": "assistant", "content": _MARK}]
        try:
            chat = processor.tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:  # a template is a program of its own
            raise UserError(
                f"layout visualprm: the tokenizer's chat template fails on a chat with a turn for each step "
                f"({type(error).__name__}: {error})"
            ) from error
        pieces = str(chat).split(_MARK)
        if len(pieces) != len(steps) + 1:
            raise UserError(
                f"layout visualprm: the tokenizer's chat template writes {len(pieces) - 1} of the "
                f"{len(steps)} answers of the assistant"
            )
        ids: list[int] = []
        reads: list[int] = []
        plus = processor.token_id("+")
        for piece in pieces[:-1]:
            ids += processor.tokens(piece)
            reads.append(len(ids) - 1)
            ids.append(plus)
        return TokenRow(ids[:-1], reads)
