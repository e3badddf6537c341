"""A local checkpoint that continues texts, one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.config.errors import UserError
from dreamprm.data.image_decoder import ImageReading
from dreamprm.generators.base import Completion, GenerationError, Request, Sampling
from dreamprm.generators.local_decoding import NonFiniteLogits, OpenCompletion, decode, encode_prefixes
from dreamprm.generators.local_inputs import InputEncoder, ProcessorInputs, QwenVLInputs, TextInputs
from dreamprm.models.backbone import BACKBONES
from dreamprm.models.strict_loading import load_strictly

_LOADING_ERRORS = (OSError, ImportError, ValueError, KeyError, SafetensorError)


@dataclass(frozen=True)
class Part:
    """Some samples of one request, decoded in one batch."""

    request: Request
    samples: Sequence[int]


class LocalModel:
    """A model together with the encoder that turns requests into its inputs.

    Args:
        model: a generative `transformers` model in evaluation mode, on its device.
        encoder: produces its inputs.

    Attributes:
        end: the token ids that end a response, from the checkpoint's generation configuration or else from
            its tokenizer.
    """

    def __init__(self, model: Any, encoder: InputEncoder) -> None:
        self.model, self.encoder = model, encoder
        named = model.generation_config.eos_token_id
        if named is None:
            named = encoder.tokenizer.eos_token_id
        self.end = frozenset([named] if isinstance(named, int) else named or [])
        # A checkpoint's own top-k, penalties etc. would change the distribution of the samples.
        model.generation_config = GenerationConfig()
        self._longest: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def complete(self, parts: Sequence[Part], sampling: Sampling) -> list[list[Completion]]:
        """Decode all samples of the parts as one batch.

        Args:
            parts: requests of which either all or none have images.

        Returns:
            For each part, the completions of its samples.

        Raises:
            GenerationError: one of the requests cannot be served.
        """
        encoded = self.encoder.encode([part.request for part in parts])
        self._check_lengths(encoded["attention_mask"], sampling.max_tokens)
        inputs = {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in encoded.items()
        }
        tokenizer = self.encoder.tokenizer
        prefixes = encode_prefixes(self.model, inputs, pad_token_id=tokenizer.pad_token_id)
        completions = [
            [
                OpenCompletion(
                    self._text,
                    ids,
                    seed=part.request.sequence,
                    sample=part.request.first + sample,
                    end=self.end,
                    max_tokens=sampling.max_tokens,
                    stop=sampling.stop,
                )
                for sample in part.samples
            ]
            for ids, part in zip(encoded["input_ids"].tolist(), parts, strict=True)
        ]
        try:
            decode(
                self.model,
                prefixes,
                [(i, one) for i, group in enumerate(completions) for one in group],
                temperature=sampling.temperature,
            )
        except NonFiniteLogits:
            raise GenerationError(
                "the model's output contains NaN or infinity; use dtype=float32 or bfloat16, "
                "or another checkpoint"
            ) from None
        return [[one.completion() for one in group] for group in completions]

    def _check_lengths(self, mask: torch.Tensor, max_tokens: int) -> None:
        longest = int(mask.sum(dim=1).max())
        if self._longest is not None and longest + max_tokens > self._longest:
            raise GenerationError(
                f"a prompt with its prefix has {longest} tokens; with max_tokens={max_tokens} that is more "
                f"than the {self._longest} the model supports; lower max_tokens or max_pixels",
                refused=True,
            )

    def _text(self, ids: Sequence[int]) -> str:
        return str(
            self.encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def load_local_model(
    source: str,
    *,
    device: str,
    dtype: str,
    min_pixels: int | None,
    max_pixels: int | None,
    images: ImageReading | None = None,
) -> LocalModel:
    """Load a checkpoint folder or hub name; see `TransformersGenerator` for the settings.

    Args:
        images: how images are opened; None: on white, and only if they are whole.

    Raises:
        UserError: the checkpoint cannot be read, its tensors are not those of its configuration, its family
            is not supported, or the device is not available.
    """
    place = _device(device)
    kind = torch.float32 if dtype == "auto" and place.type == "cpu" else dtype
    try:
        config = AutoConfig.from_pretrained(source)
    except _LOADING_ERRORS as error:
        raise UserError(_unreadable(source, error)) from error
    family = config.model_type
    shows = family in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    crossed = getattr(config.get_text_config(), "cross_attention_layers", None)
    if config.is_encoder_decoder or crossed or not (shows or family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        raise UserError(
            f"{source} is a {family!r} model; the transformers generator needs a decoder that reads images "
            "as tokens (Qwen-VL, InternVL, LLaVA, Gemma 3, Idefics 3, ...) or a language model. Serve other "
            "models through an OpenAI-compatible server and use generator=openai"
        )
    auto = AutoModelForImageTextToText if shows else AutoModelForCausalLM
    try:
        encoder = _encoder(source, family if shows else None, min_pixels=min_pixels, max_pixels=max_pixels)
        encoder.reading = images or ImageReading()
        model: Any = load_strictly(auto, source, dtype=kind)
    except UserError:
        raise
    except _LOADING_ERRORS as error:
        raise UserError(_unreadable(source, error)) from error
    return LocalModel(model.to(place).eval(), encoder)


def _unreadable(source: str, error: Exception) -> str:
    return (
        f"cannot read a model from {source}: {error}; give a checkpoint's folder (with weights, "
        "configuration and tokenizer) or its name on the hub"
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}; use auto, cpu, cuda or cuda:N"
        ) from error
    return place


def _encoder(
    source: str, family: str | None, *, min_pixels: int | None, max_pixels: int | None
) -> InputEncoder:
    """The encoder of an image-text family; None for `family` means a language model."""
    given = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    limits: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if family in BACKBONES:
        images = Qwen2VLImageProcessorPil.from_pretrained(source, **limits)
        return QwenVLInputs(AutoTokenizer.from_pretrained(source), images, source=source)
    if limits:
        raise UserError(
            f"{' and '.join(limits)} can be set only for the Qwen-VL families "
            f"({', '.join(BACKBONES)}); {source} belongs to another family: remove them"
        )
    if family is None:
        tokenizer = AutoTokenizer.from_pretrained(source)
        return TextInputs(tokenizer, tokenizer, source=source)
    return ProcessorInputs(AutoProcessor.from_pretrained(source), source=source)
