"""From requests to model inputs, using the checkpoint's chat template, tokenizer and image processor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import ImageError, ImageReading
from dreamprm.generators.base import GenerationError, Request
from dreamprm.models.chat import IMAGE_PAD, ChatTemplate, NoPlaceForImages
from dreamprm.models.images import ImagePatcher


class InputEncoder(ABC):
    """Renders requests as open assistant turns and encodes several of them as one left-padded batch.

    Args:
        tokenizer: a `transformers` tokenizer.
        template: the object that applies the checkpoint's chat template (a processor or the tokenizer).
        source: the checkpoint's name, for messages.

    Attributes:
        reading: how images are opened.

    Raises:
        UserError: the checkpoint has no chat template.
    """

    takes_images = True

    def __init__(self, tokenizer: Any, template: Any, *, source: str) -> None:
        if not template.chat_template:
            raise UserError(
                f"{source} has no chat template; use an instruction-tuned checkpoint, or add its family's "
                "template to the checkpoint's folder as chat_template.jinja"
            )
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token  # masked, so any token will do
        self.tokenizer = tokenizer
        self.source = source
        self.reading = ImageReading()
        self._chat = ChatTemplate(template, source=source)

    def refusal(self, request: Request) -> str | None:
        """Why a request with images cannot be served by this model; None if it can."""
        if not request.images:
            return None
        if not self.takes_images:
            return (
                f"{self.source} is a language model: it takes no images, and the question has "
                f"{len(request.images)}"
            )
        return None if self._chat.takes_parts else str(NoPlaceForImages(self.source, len(request.images)))

    def text(self, request: Request) -> str:
        """The chat up to the point where the model continues: the prefix is the beginning of its answer."""
        return self._chat.render(request.prompt, len(request.images)) + request.prefix

    def open_images(self, request: Request) -> list[Image.Image]:
        """The request's images, decoded.

        Raises:
            GenerationError: an image is missing or broken.
        """
        images = []
        for path in request.images:
            try:
                images.append(self.reading.open(path).image)
            except ImageError as error:
                raise GenerationError(
                    f"the image {path} cannot be read: {error.kind}: {error.reason}", refused=True
                ) from error
        return images

    @abstractmethod
    def encode(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        """The model's inputs for these requests, of which either all or none have images.

        Raises:
            GenerationError: a request's text and images do not match.
        """

    def _special(self, texts: Sequence[str]) -> bool:
        """Whether the tokenizer should add its special tokens: not if the template already wrote them."""
        begin = self.tokenizer.bos_token
        return not (begin and texts[0].startswith(begin))


class TextInputs(InputEncoder):
    """A language model without images."""

    takes_images = False

    def text(self, request: Request) -> str:
        """See `InputEncoder.text`; a language model's template is asked with a plain text first."""
        return self._chat.render_text(request.prompt) + request.prefix

    def encode(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        # The chat template writes all special tokens.
        encoded = self.tokenizer(
            [self.text(request) for request in requests],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        )
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


class ProcessorInputs(InputEncoder):
    """Any model family, through its own processor."""

    def __init__(self, processor: Any, *, source: str) -> None:
        template = processor if getattr(processor, "chat_template", None) else processor.tokenizer
        super().__init__(processor.tokenizer, template, source=source)
        self._processor = processor

    def encode(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        texts = [self.text(request) for request in requests]
        images = [self.open_images(request) for request in requests]
        shown = {"images": images} if images[0] else {}
        try:
            encoded = self._processor(
                text=texts,
                **shown,
                padding=True,
                return_tensors="pt",
                add_special_tokens=self._special(texts),
            )
        except ValueError as error:
            raise GenerationError(
                f"{self.source} cannot encode the request: {error}", refused=True
            ) from error
        # PaliGemma's processor adds labels without being asked.
        return {
            name: value for name, value in encoded.items() if isinstance(value, Tensor) and name != "labels"
        }


class QwenVLInputs(InputEncoder):
    """The Qwen-VL families, using the tokenizer and the PRM's own way from images to patches.

    Their own processor needs torchvision (for videos); it does little with images.
    """

    def __init__(self, tokenizer: Any, image_processor: Any, *, source: str) -> None:
        super().__init__(tokenizer, tokenizer, source=source)
        self._image_processor = image_processor
        self._patcher = ImagePatcher(image_processor)
        self._pad = tokenizer.convert_tokens_to_ids(IMAGE_PAD)

    def encode(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        texts = [self.text(request) for request in requests]
        images = [
            (path, image)
            for request in requests
            for path, image in zip(request.images, self.open_images(request), strict=True)
        ]
        shown: dict[str, Tensor] = {}
        counts: list[int] = []
        if images:
            pixels = [self._resized(path, image) for path, image in images]
            grids = [self._patcher.grid(image) for image in pixels]
            shown = {
                "pixel_values": torch.from_numpy(self._patcher.patches(pixels)),
                "image_grid_thw": torch.tensor(grids),
            }
            counts = [self._patcher.tokens(grid) for grid in grids]
        expanded, done = [], 0
        for request, text in zip(requests, texts, strict=True):
            own = counts[done : done + len(request.images)]
            expanded.append(_widened(text, own))
            done += len(own)
        encoded = self.tokenizer(expanded, padding=True, add_special_tokens=False, return_tensors="pt")
        ids = encoded["input_ids"]
        return {
            "input_ids": ids,
            "attention_mask": encoded["attention_mask"],
            "mm_token_type_ids": (ids == self._pad).to(torch.int32),
            **shown,
        }

    def _resized(self, path: str, image: Image.Image) -> np.ndarray:
        try:
            return self._patcher.resized(image)
        except UserError as error:  # for example, an aspect ratio above 200
            raise GenerationError(f"an image cannot be used: {path}: {error}", refused=True) from error


def _widened(text: str, counts: Sequence[int]) -> str:
    """The text with each image's single pad token repeated once per token of the image."""
    pieces = text.split(IMAGE_PAD)
    if len(pieces) != len(counts) + 1:
        raise GenerationError(
            f"the text contains {len(pieces) - 1} {IMAGE_PAD} tokens for {len(counts)} images; prompt and "
            "prefix must not contain this token themselves",
            refused=True,
        )
    return pieces[0] + "".join(
        IMAGE_PAD * count + piece for count, piece in zip(counts, pieces[1:], strict=True)
    )
