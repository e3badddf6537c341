"""The chat text around a question: from the tokenizer's own chat template, or else Qwen2-VL's."""

from typing import Any

from dreamprm.config.errors import UserError

IMAGE_PAD = "<|image_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
IMAGE_BLOCK = VISION_START + IMAGE_PAD + VISION_END

# A text that no template produces on its own; it marks where the user's text goes.
_MARK = "\u2402user text\u2403"


class ChatFrame:
    """The text before and after a user's text in a one-turn chat that ends with the assistant's prompt.

    The template is rendered once per number of images and split at the user's text, so encoding a question
    never runs the template engine. Images come before the text, as in the public DreamPRM code.

    Args:
        tokenizer: a `transformers` tokenizer; its `chat_template` is used if it has one, else Qwen2-VL's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._frames: dict[int, tuple[str, str]] = {}

    def around(self, n_images: int) -> tuple[str, str]:
        """(before, after): the chat is `before + user text + after`; `before` has one pad per image.

        Raises:
            UserError: the tokenizer's template drops or repeats the user's text or the images.
        """
        if n_images not in self._frames:
            self._frames[n_images] = self._render(n_images)
        return self._frames[n_images]

    def _render(self, n_images: int) -> tuple[str, str]:
        if self._tokenizer.chat_template is None:
            return (
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
                + IMAGE_BLOCK * n_images,
                "<|im_end|>\n<|im_start|>assistant\n",
            )
        content = [{"type": "image"}] * n_images + [{"type": "text", "text": _MARK}]
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        pieces = text.split(_MARK)
        pads = text.count(IMAGE_PAD)
        if len(pieces) != 2 or pads != n_images:
            raise UserError(
                f"the tokenizer's chat template writes the user's text {len(pieces) - 1} times and {pads} "
                f"image pads for {n_images} images; it must accept content lists with images, as Qwen2-VL's "
                "does. Set tokenizer.chat_template to such a template, or to None for the built-in one"
            )
        return pieces[0], pieces[1]
