"""Tiny random Qwen-VL backbones with a word-level tokenizer, made in memory; seconds to train on a CPU."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.models import PRM, PRMProcessor, ProcessorSettings

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
WORDS = (
    "[unk] system user assistant you are a helpful . step final answer is the of and plus minus equals "
    "what how many bars one two three four five six 1 2 3 4 5 6 : , ? \n"
).split(" ")


@functools.cache
def tiny_tokenizer_backend(words: tuple[str, ...] = tuple(WORDS)) -> str:
    """The JSON of a word-level tokenizer over `words`; newlines are words."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation(),
        ]
    )
    return str(tokenizer.to_str())


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A fresh word-level tokenizer with Qwen2-VL's special tokens and no chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tiny_tokenizer_backend()),
        unk_token="[unk]",
        pad_token="<|pad|>",
        extra_special_tokens=list(SPECIAL[1:]),
    )


def tiny_processor(
    *, patch_size: int = 14, min_pixels: int = 28 * 28, max_pixels: int = 112 * 112, **settings: Any
) -> PRMProcessor:
    """A processor over the tiny tokenizer; **settings are fields of `ProcessorSettings`."""
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=patch_size, min_pixels=min_pixels, max_pixels=max_pixels
    )
    return PRMProcessor(tiny_tokenizer(), image_processor, settings=ProcessorSettings(**settings))


def tiny_config(
    family: str = "qwen2_vl",
    *,
    hidden: int = 32,
    layers: int = 2,
    vision: int = 16,
    vision_layers: int = 2,
    tie: bool = True,
) -> PreTrainedConfig:
    """The config of a tiny backbone of a family in `FAMILIES`, for the tiny tokenizer."""
    tokenizer = tiny_tokenizer()
    ids = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        # No video is ever shown; an id past the vocabulary cannot be met.
        "video_token_id": len(tokenizer),
    }
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [hidden // 8 - 2, 1, 1],
        },
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "initializer_range": 0.2,
    }
    tower: dict[str, Any] = {
        "depth": vision_layers,
        "num_heads": 2,
        "in_channels": 3,
        "initializer_range": 0.2,
    }
    if family == "qwen2_vl":
        tower |= {"embed_dim": vision, "hidden_size": hidden, "mlp_ratio": 2}
    elif family == "qwen2_5_vl":
        tower |= {
            "hidden_size": vision,
            "out_hidden_size": hidden,
            "intermediate_size": 2 * vision,
            "fullatt_block_indexes": [vision_layers - 1],
            "window_size": 56,
        }
    else:
        text |= {"head_dim": hidden // 4}
        tower |= {
            "hidden_size": vision,
            "out_hidden_size": hidden,
            "intermediate_size": 2 * vision,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
            "patch_size": 14,
        }
    return AutoConfig.for_model(family, text_config=text, vision_config=tower, tie_word_embeddings=tie, **ids)


TEXT_FAMILIES = ("qwen2", "qwen3", "llama", "mistral")


def tiny_text_tokenizer(*, extra: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The word-level tokenizer of a language model: no vision tokens; `extra` are special tokens."""
    special = [*SPECIAL[1:3], *extra]
    vocabulary = {word: index for index, word in enumerate((SPECIAL[0], *special, *WORDS))}
    tokenizer = Tokenizer.from_str(tiny_tokenizer_backend())
    tokenizer.model = models.WordLevel(vocabulary, unk_token="[unk]")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[unk]", pad_token="<|pad|>", extra_special_tokens=special
    )


def tiny_text_config(family: str = "qwen2", *, layers: int = 2, vocabulary: int = 64) -> PreTrainedConfig:
    """The config of a tiny language model of a family in `TEXT_FAMILIES`."""
    own: dict[str, Any] = {"head_dim": 8} if family != "qwen2" else {}
    if family == "mistral":
        own["sliding_window"] = None
    return AutoConfig.for_model(
        family,
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **own,
    )


def tiny_text_prm(
    family: str = "qwen2", *, seed: int = 0, attn_implementation: str = "sdpa", **more: Any
) -> PRM:
    """A tiny random PRM on a language model, in evaluation mode; **more go to `PRM.from_backbone`."""
    torch.manual_seed(seed)
    processor = PRMProcessor(tiny_text_tokenizer(), text_only=True)
    prm = PRM.from_backbone(
        tiny_text_config(family), processor=processor, attn_implementation=attn_implementation, **more
    )
    torch.nn.init.normal_(prm.head.weight, std=0.5)
    return prm.eval()


def tiny_prm(
    family: str = "qwen2_vl",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str = "eager",
    head: str = "hidden",
    readout: str = "step_end",
    image_ground: str = "white",
    **sizes: Any,
) -> PRM:
    """A tiny random PRM in evaluation mode; **sizes go to `tiny_config`."""
    torch.manual_seed(seed)
    prm = PRM.from_backbone(
        tiny_config(family, **sizes),
        processor=tiny_processor(readout=readout, image_ground=image_ground),
        head=head,
        attn_implementation=attn_implementation,
        dtype=dtype,
    )
    torch.nn.init.normal_(prm.head.weight, std=0.5)  # wide enough that scores differ
    return prm.eval()


def tiny_image(seed: int = 0, *, size: tuple[int, int] = (56, 56)) -> Image.Image:
    """A random RGB image of (width, height) pixels."""
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def tiny_cots(n: int = 4, *, seed: int = 0) -> list[tuple[str, list[Image.Image], list[str]]]:
    """Questions with different numbers of images of different sizes, and different numbers of steps."""
    generator = np.random.default_rng(seed)
    sizes = [(56, 56), (84, 28), (28, 56)]
    words: Sequence[str] = [word for word in WORDS if word not in ("[unk]", "\n")]
    cots = []
    for index in range(n):
        images = [tiny_image(seed + index, size=sizes[(index + k) % 3]) for k in range((index + 1) % 3)]
        steps = [
            " ".join(generator.choice(words, size=generator.integers(2, 9)))
            for _ in range(generator.integers(1, 6))
        ]
        cots.append((" ".join(generator.choice(words, size=5)), images, steps))
    return cots


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges, for texts of any language: a token a byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*alphabet, *SPECIAL))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", extra_special_tokens=list(SPECIAL[1:])
    )


def save_byte_level_checkpoint(folder: Path, *, hidden: int = 32, layers: int = 1) -> Path:
    """A random Qwen2-VL checkpoint with the byte-level tokenizer, as other software writes one."""
    torch.manual_seed(0)
    tokenizer = byte_level_tokenizer()
    config = tiny_config(hidden=hidden, layers=layers)
    config.text_config.vocab_size = len(tokenizer)
    config.text_config.max_position_embeddings = 32768
    config.image_token_id = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    config.vision_start_token_id = tokenizer.convert_tokens_to_ids("<|vision_start|>")
    config.vision_end_token_id = tokenizer.convert_tokens_to_ids("<|vision_end|>")
    config.video_token_id = len(tokenizer)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil().save_pretrained(folder)
    return folder
