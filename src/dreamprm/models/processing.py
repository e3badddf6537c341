"""Turns questions, images and steps into token rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.config.choices import READOUTS
from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import WHITE, ImageError, ImageSource, decode_image
from dreamprm.files.append_only import require_fields
from dreamprm.files.json_values import parse_json, shown
from dreamprm.models.backbone import TEXT_BACKBONES
from dreamprm.models.chat import IMAGE_BLOCK, IMAGE_PAD, VISION_END, VISION_START, ChatFrame, TextOnlyModel
from dreamprm.models.encoding import EncodedCoT, EncodedRow, collate, multimodal_positions, text_targets
from dreamprm.models.images import ImagePatcher, ImageStore, NoImages
from dreamprm.runtime.settings import ground_colour

SETTINGS_FILE = "prm_processor.json"
_TEXT_ONLY = "text_only"
# Questions and steps recur, with other CoTs and in later epochs.
CACHED_TEXTS = 1 << 16


@dataclass(frozen=True)
class ProcessorSettings:
    """What determines the tokens of a chain of thought besides the tokenizer; stored with the model.

    Fields:
        readout: `step_end` reads every step at its own last token, all in one causal pass; `chat_suffix`
            gives each step its own row and reads after the chat template, as the public DreamPRM checkpoints
            do.
        step_separator: text after each step; part of the step's tokens, so the step is read after it.
        question_separator: text between question and steps (`chat_suffix`; two newlines in the public code).
        max_length: the most tokens a row may have, or None; a longer row is rejected, never truncated.
        image_ground: the colour under transparent areas of images, such as `white` or `#f0f0f0`.
    """

    readout: str = "step_end"
    step_separator: str = "\n"
    question_separator: str = "\n\n"
    max_length: int | None = None
    image_ground: str = WHITE

    def __post_init__(self) -> None:
        for name in ("readout", "step_separator", "question_separator", "image_ground"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name} must be a text, got {shown(getattr(self, name))}")
        if self.max_length is not None and type(self.max_length) is not int:
            raise UserError(f"max_length must be a whole number, or null, got {shown(self.max_length)}")
        if self.readout not in READOUTS:
            raise UserError(f"unknown readout {self.readout!r}; use one of {', '.join(READOUTS)}")
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"max_length must be >= 1, got {self.max_length}; None sets no limit")
        ground_colour(self.image_ground)


class PRMProcessor:
    """Turns a question, its images and the steps of a CoT into what `PRM.forward` takes.

    Combines any tokenizer with Qwen2-VL's vision tokens and the PIL image processor; needs no torchvision.

    Args:
        tokenizer: a fast `transformers` tokenizer.
        image_processor: gives size limits, normalisation and patch sizes; a default one if None.
        settings: see `ProcessorSettings`.
        text_only: for a language model. Images are refused, and the tokenizer needs no vision tokens.

    Attributes:
        image_processor: None if `text_only`.

    Raises:
        UserError: the tokenizer lacks a vision token, or has no fast implementation.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_processor: Qwen2VLImageProcessorPil | None = None,
        *,
        settings: ProcessorSettings | None = None,
        text_only: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.text_only = text_only
        self.settings = settings if settings is not None else ProcessorSettings()
        self.image_processor: Qwen2VLImageProcessorPil | None = None
        if not text_only:
            self.image_processor = image_processor or Qwen2VLImageProcessorPil()
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in (VISION_START, IMAGE_PAD, VISION_END) if token not in vocabulary]
        if missing and not text_only:
            raise UserError(
                f"the tokenizer has no token {', '.join(missing)}; use a Qwen2-VL tokenizer or add them as "
                "special tokens"
            )
        # No token has the id -1.
        self.image_token_id: int = -1 if text_only else vocabulary[IMAGE_PAD]
        # Padding is masked, so any id that is not the image's will do.
        self.pad_token_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self.patcher: ImagePatcher | NoImages = NoImages()
        if self.image_processor is not None:
            self.patcher = ImagePatcher(self.image_processor, ground=self.settings.image_ground)
        self._chat = ChatFrame(tokenizer, text_only=text_only)
        self._backend = tokenizer.backend_tokenizer
        self._token_cache: dict[str, list[int]] = {}

    @property
    def readout(self) -> str:
        """`step_end` or `chat_suffix`."""
        return self.settings.readout

    def image_store(self, *, missing: str = "error", truncated: str = "error") -> ImageStore:
        """A store that opens images as this processor shows them; arguments as for `ImageStore`."""
        return ImageStore(
            self.patcher.resized, missing=missing, truncated=truncated, ground=self.settings.image_ground
        )

    def opened(self, sources: Sequence[ImageSource]) -> list[np.ndarray]:
        """Images as the model sees them, resized.

        Raises:
            UserError: one of them cannot be opened or used, with its path or its number.
        """
        if self.text_only and sources:
            raise TextOnlyModel(len(sources))
        images = []
        for number, one in enumerate(sources, start=1):
            try:
                images.append(self.patcher.resized(decode_image(one, ground=self.settings.image_ground)))
            except ImageError as error:
                raise UserError(f"cannot open the image {error}") from error
            except UserError as error:
                name = str(one) if isinstance(one, str | Path) else f"number {number}"
                raise UserError(f"image {name}: {error}") from error
        return images

    def encode(
        self,
        question: str,
        images: Sequence[Image.Image | np.ndarray] = (),
        steps: Sequence[str] = (),
        *,
        readout: str | None = None,
    ) -> EncodedCoT:
        """Encodes one CoT.

        step_end: one row, chat(question) + tokens(step_1) + .. + tokens(step_S), with each step tokenised
            separately, including its separator, so that the row of a prefix is a prefix of the row.
        chat_suffix: row i = chat(question + step_1..step_i), read at its last token.

        Args:
            question: the user's text.
            images: shown before the question, in order; none for a text-only question. An image that many
                CoTs share may be passed as returned by `patcher.resized`, so that it is resized once.
            steps: at least one.
            readout: overrides the processor's.

        Raises:
            UserError: no step; a step without tokens; an image token inside a text; a row longer than
                `max_length`; an image that cannot be read.
        """
        if not steps:
            raise UserError("a chain of thought needs at least one step, got none")
        pixels = tuple(self.patcher.resized(image) for image in images)
        before, after = self._chat.around(len(pixels))
        texts = {"question": question, **{f"steps[{place}]": step for place, step in enumerate(steps)}}
        if (readout or self.readout) == "chat_suffix":
            rows = []
            for end in range(1, len(steps) + 1):
                shown = self.settings.step_separator.join(steps[:end])
                text = before + question + self.settings.question_separator + shown + after
                rows.append(self._row(self._tokens(text), pixels, reads=None, texts=texts))
            return EncodedCoT(rows=tuple(rows), images=pixels)
        ids = self._tokens(before + question + after)
        text_start, reads = len(ids), []
        for number, step in enumerate(steps, start=1):
            step_ids = self._tokens(step + self.settings.step_separator)
            if not step_ids:
                raise UserError(f"step {number} is {step!r}, which has no tokens; a step needs a text")
            ids = ids + step_ids
            reads.append(len(ids) - 1)
        row = self._row(ids, pixels, reads=reads, texts=texts, text_start=text_start)
        return EncodedCoT(rows=(row,), images=pixels)

    def frame(self, n_images: int) -> tuple[str, str]:
        """The chat before and after a question with this many images; see `ChatFrame.around`."""
        return self._chat.around(n_images)

    def encode_text(self, text: str, images: Sequence[Image.Image | np.ndarray] = ()) -> EncodedCoT:
        """One row for language modelling: the images, then the text; only the text's tokens are targets.

        Raises:
            UserError: fewer than two tokens, so that nothing can be predicted; an image token inside the
                text; a row longer than `max_length`.
        """
        pixels = tuple(self.patcher.resized(image) for image in images)
        ids = self._tokens(IMAGE_BLOCK * len(pixels)) if pixels else []
        text_start = len(ids)
        ids = ids + self._tokens(text)
        if len(ids) < 2 or len(ids) == text_start:
            raise UserError(f"a text for language modelling needs a token to predict, got {text!r}")
        row = self._row(ids, pixels, reads=[], texts={"text": text}, text_start=text_start)
        return EncodedCoT(rows=(row,), images=pixels)

    def collate(self, encoded: Sequence[EncodedCoT]) -> dict[str, Tensor]:
        """A batch of CPU tensors, padded on the right; see `models.encoding.collate`."""
        return collate(encoded, patcher=self.patcher, pad_token_id=self.pad_token_id)

    def collate_text(self, encoded: Sequence[EncodedCoT]) -> dict[str, Tensor]:
        """`collate`, plus the tokens that a language model predicts; see `models.encoding.text_targets`."""
        batch = self.collate(encoded)
        return batch | text_targets(encoded, batch["input_ids"])

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the tokenizer, image processor and settings files to the folder, created if missing."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        stored = asdict(self.settings)
        if self.image_processor is not None:
            self.image_processor.save_pretrained(folder)
        else:
            stored[_TEXT_ONLY] = True
        text = json.dumps(stored, indent=2) + "\n"
        (Path(folder) / SETTINGS_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        text_only: bool | None = None,
        **changes: Any,
    ) -> "PRMProcessor":
        """Reads what `save_pretrained` wrote, or the processor of a plain checkpoint (or hub name).

        Args:
            folder: a folder, or a hub name of a plain checkpoint.
            min_pixels, max_pixels: replace the stored size limits, in pixels; a language model has none.
            text_only: whether its model is a language model; None: if its config or its settings say so.
            **changes: fields of `ProcessorSettings` that replace the stored ones.

        Raises:
            UserError: no tokenizer or image processor there.
        """
        limits = {"min_pixels": min_pixels, "max_pixels": max_pixels}
        sizes: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
        text_only = text_only if text_only is not None else _says_text_only(folder)
        image_processor = None
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            if not text_only:
                image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder, **sizes)
        except Exception as error:  # on damaged files the libraries raise all kinds, some `Exception` itself
            what = "a tokenizer" if text_only else "a tokenizer and an image processor"
            raise UserError(f"cannot read {what} from {folder}: {error or repr(error)}") from error
        path = Path(folder) / SETTINGS_FILE
        try:
            stored = parse_json(path.read_bytes()) if path.exists() else {}
            require_fields(stored, {})
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not the settings file of a saved PRM's processor: {error}") from error
        stored.pop(_TEXT_ONLY, None)
        unknown = sorted(stored.keys() - {field.name for field in fields(ProcessorSettings)})
        if unknown:
            raise UserError(
                f"{path} holds {', '.join(unknown)}, which this version does not know; upgrade dreamprm"
            )
        try:
            settings = ProcessorSettings(**{**stored, **changes})
            return cls(tokenizer, image_processor, settings=settings, text_only=text_only)
        except UserError as error:
            # For a folder without tokenizer files, for example, transformers makes an empty tokenizer.
            raise UserError(f"{folder}: {error}") from error

    def _tokens(self, text: str) -> list[int]:
        """Token ids of a text; the list is shared and must not be changed."""
        ids = self._token_cache.get(text)
        if ids is None:
            if len(self._token_cache) >= CACHED_TEXTS:
                self._token_cache.clear()
            # Calls the backend directly: the wrapper's checks cost 0.2 ms per text.
            ids = self._backend.encode(text, add_special_tokens=False).ids
            self._token_cache[text] = ids
        return ids

    def _row(
        self,
        ids: list[int],
        pixels: Sequence[np.ndarray],
        *,
        reads: Sequence[int] | None,
        texts: Mapping[str, str],
        text_start: int = 0,
    ) -> EncodedRow:
        """Expands image pads to the images' token counts; `reads=None` reads at the last token.

        `texts` are the record's own, by field, for messages.
        """
        grids = [self.patcher.grid(image) for image in pixels]
        pads = [index for index, token in enumerate(ids) if token == self.image_token_id]
        if len(pads) != len(grids):
            raise UserError(
                f"the text holds {len(pads)} {IMAGE_PAD} tokens for {len(grids)} images; "
                f"a question or step must not contain this token itself{_holders(texts)}"
            )
        shift = 0
        expanded: list[int] = []
        done = 0
        for pad, grid in zip(pads, grids, strict=True):
            count = self.patcher.tokens(grid)
            expanded += ids[done:pad] + [self.image_token_id] * count
            done = pad + 1
            shift += count - 1
        expanded += ids[done:]
        if self.settings.max_length is not None and len(expanded) > self.settings.max_length:
            raise UserError(
                f"the record has {len(expanded)} tokens, but max_length is {self.settings.max_length}; raise "
                "max_length, lower max_pixels, or leave the record out (data.on_error=skip)"
            )
        input_ids = np.array(expanded, dtype=np.int64)
        token_types = (input_ids == self.image_token_id).astype(np.int64)
        # Images come before every step, so all read positions shift equally.
        moved = (len(expanded) - 1,) if reads is None else tuple(read + shift for read in reads)
        return EncodedRow(
            input_ids=input_ids,
            token_types=token_types,
            positions=multimodal_positions(token_types, grids, self.patcher.merge),
            reads=moved,
            text_start=text_start + shift if reads is not None else len(expanded),
        )


def _says_text_only(source: str | Path) -> bool:
    """Whether the files of a checkpoint, or of a saved PRM, say that its model reads no images."""
    folder = Path(source)
    for name, says in (
        (SETTINGS_FILE, lambda stored: stored.get(_TEXT_ONLY) is True),
        ("config.json", lambda stored: stored.get("model_type") in TEXT_BACKBONES),
    ):
        try:
            stored = parse_json((folder / name).read_bytes())
        except (OSError, ValueError):
            continue  # where it matters, whoever reads it says so
        if isinstance(stored, dict) and says(stored):
            return True
    if folder.exists():
        return False
    try:
        return AutoConfig.from_pretrained(source).model_type in TEXT_BACKBONES
    except Exception:  # no name on the hub: reading the tokenizer says so
        return False


def _holders(texts: Mapping[str, str]) -> str:
    """The fields that hold an image token, for a message; "" if it is none of them."""
    found = [name for name, text in texts.items() if IMAGE_PAD in text]
    return f" (field {', '.join(map(repr, found[:3]))})" if found else ""
