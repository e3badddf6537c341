"""The chat text around a question: from the tokenizer's own chat template, or else Qwen2-VL's."""

from typing import Any

from dreamprm.config.errors import UserError

IMAGE_PAD = "<|image_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
IMAGE_BLOCK = VISION_START + IMAGE_PAD + VISION_END

_TURN = "<|im_start|>"

# A text that no template produces on its own; it marks where the user's text goes.
_MARK = "\u2402user text\u2403"
# What stands before the mark where a template has printed the list of parts instead of going through it.
_PRINTED = ("'text': '", '"text": "')


class NoPlaceForImages(UserError):
    """A chat template for plain texts was given images: no record with images can be shown to its model."""

    def __init__(self, source: str, n_images: int) -> None:
        super().__init__(
            f"the chat template of {source} takes plain texts (its content is a text, not a list of parts) "
            f"and has no place for images, of which there {'is 1' if n_images == 1 else f'are {n_images}'} "
            "here; use a template that accepts content lists with images, as Qwen2-VL's does "
            "(chat_template.jinja in the tokenizer's folder), or records without images"
        )


class TextOnlyModel(NoPlaceForImages):
    """A language model, without a vision tower, was given images."""

    def __init__(self, n_images: int) -> None:
        UserError.__init__(
            self,
            "the model reads text only (its backbone is a language model without a vision tower), and a "
            f"question shows {n_images} image{'' if n_images == 1 else 's'}; use a Qwen-VL backbone, or "
            "questions without images",
        )


class ChatTemplate:
    """A chat template and the form of content it takes: a list of parts, or a plain text.

    Templates of language models, such as SmolLM2's, join the content to other texts: a list makes them fail,
    or is printed. Which form a template takes is found once, by rendering a text as both.

    Args:
        template: a tokenizer or processor with a `chat_template`.
        source: its name, for messages.
    """

    def __init__(self, template: Any, *, source: str) -> None:
        self._template, self._source = template, source
        self._takes_parts: bool | None = None

    @property
    def takes_parts(self) -> bool:
        """Whether content is a list of parts, which may be images; False: a plain text.

        Raises:
            UserError: the template fails with either.
        """
        if self._takes_parts is None:
            self._takes_parts = self._found_to_take_parts()
        return self._takes_parts

    def render(self, text: str, n_images: int = 0) -> str:
        """A one-turn chat of images and a text that ends where the assistant's turn begins.

        Raises:
            NoPlaceForImages: the template takes plain texts, and there are images.
            UserError: the template fails.
        """
        if n_images and not self.takes_parts:
            raise NoPlaceForImages(self._source, n_images)
        return self._rendered(_parts(text, n_images) if self.takes_parts else text)

    def render_text(self, text: str) -> str:
        """A one-turn chat of a plain text, for a model that is shown nothing else; otherwise as `render`."""
        try:
            return self._rendered(text)
        except UserError:
            return self.render(text)

    def _found_to_take_parts(self) -> bool:
        try:
            shown = self._rendered(_parts(_MARK, 0))
        except UserError as error:
            failure: UserError | None = error
        else:
            failure = None
            before, mark, _ = shown.partition(_MARK)
            if mark and not before.endswith(_PRINTED):
                return True
        try:
            plain = self._rendered(_MARK)
        except UserError:
            if failure is not None:
                raise failure from None
            return True
        # One that loses both forms counts as one for parts: what it does with them is said where it is used.
        return _MARK not in plain

    def _rendered(self, content: Any) -> str:
        try:
            return str(
                self._template.apply_chat_template(
                    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
                )
            )
        except Exception as error:  # a template is a program of its own
            raise UserError(
                f"the chat template of {self._source} fails on a chat of one turn by the user "
                f"({type(error).__name__}: {error}); repair it (chat_template.jinja in the tokenizer's "
                "folder)"
            ) from error


def _parts(text: str, n_images: int) -> list[dict[str, str]]:
    return [{"type": "image"}] * n_images + [{"type": "text", "text": text}]


class ChatFrame:
    """The text before and after a user's text in a one-turn chat that ends with the assistant's prompt.

    The template is rendered once per number of images and split at the user's text, so encoding a question
    never runs the template engine. Images come before the text, as in the public DreamPRM code.

    Args:
        tokenizer: a `transformers` tokenizer; its `chat_template` is used if it has one, else Qwen2-VL's, or
            for a tokenizer without its marks no more than the tokenizer's first token and a new line.
        text_only: refuse images.
    """

    def __init__(self, tokenizer: Any, *, text_only: bool = False) -> None:
        self._tokenizer, self._text_only = tokenizer, text_only
        self._template = ChatTemplate(tokenizer, source="the tokenizer")
        self._frames: dict[int, tuple[str, str]] = {}

    def around(self, n_images: int) -> tuple[str, str]:
        """(before, after): the chat is `before + user text + after`; `before` has one pad per image.

        Raises:
            NoPlaceForImages: the tokenizer's template takes plain texts, or the model reads text only, and
                there are images.
            UserError: the tokenizer's template fails, or drops or repeats the user's text or the images.
        """
        if n_images not in self._frames:
            self._frames[n_images] = self._render(n_images)
        return self._frames[n_images]

    def _render(self, n_images: int) -> tuple[str, str]:
        if self._text_only and n_images:
            raise TextOnlyModel(n_images)
        if self._tokenizer.chat_template is None:
            if self._text_only and _TURN not in self._tokenizer.get_vocab():
                return self._tokenizer.bos_token or "", "\n"
            return (
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
                + IMAGE_BLOCK * n_images,
                "<|im_end|>\n<|im_start|>assistant\n",
            )
        text = self._template.render(_MARK, n_images)
        pieces = text.split(_MARK)
        pads = 0 if self._text_only else text.count(IMAGE_PAD)
        if len(pieces) != 2 or pads != n_images:
            raise UserError(
                f"the tokenizer's chat template writes the user's text {len(pieces) - 1} times and {pads} "
                f"image pads for {n_images} images; it must accept content lists with images, as Qwen2-VL's "
                "does. Set tokenizer.chat_template to such a template, or to None for the built-in one"
            )
        return pieces[0], pieces[1]
