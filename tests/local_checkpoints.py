"""Tiny random checkpoints of several families, in folders as other software writes them, to generate from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_models import byte_level_tokenizer, tiny_config
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
FAMILIES = (*QWEN, "llava", "gemma3", "paligemma", "llama")

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_template(image: str) -> str:
    """A template of Qwen2-VL's form that writes `image` for an image."""
    return _TEMPLATE.replace("IMAGE", image)


def save_local_checkpoint(folder: Path, family: str = "qwen2_vl", *, seed: int = 0) -> Path:
    """A random model of a family of `FAMILIES` over bytes, with its chat template; returns the folder."""
    torch.manual_seed(seed)
    tokenizer = byte_level_tokenizer()
    tokenizer.eos_token = "<|im_end|>"
    if family in QWEN:
        _save_qwen(folder, family, tokenizer)
    else:
        save = {
            "llava": _save_llava,
            "gemma3": _save_gemma3,
            "paligemma": _save_paligemma,
            "llama": _save_llama,
        }
        save[family](folder, tokenizer)
    return folder


def _text_settings(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "head_dim": 8,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save_qwen(folder: Path, family: str, tokenizer: Any) -> None:
    tokenizer.chat_template = chat_template("<|vision_start|><|image_pad|><|vision_end|>")
    config = tiny_config(family)
    config.text_config.vocab_size = len(tokenizer)
    config.text_config.eos_token_id = tokenizer.eos_token_id
    config.text_config.initializer_range = 0.3
    for name, token in (("image_token_id", "<|image_pad|>"), ("vision_start_token_id", "<|vision_start|>")):
        setattr(config, name, tokenizer.convert_tokens_to_ids(token))
    config.vision_end_token_id = tokenizer.convert_tokens_to_ids("<|vision_end|>")
    config.video_token_id = len(tokenizer)  # no video is ever shown
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=14, min_pixels=28 * 28, max_pixels=112 * 112).save_pretrained(folder)


def _save_llava(folder: Path, tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
    config = LlavaConfig(
        text_config={"model_type": "llama", **_text_settings(tokenizer)},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "projection_dim": 16,
            "initializer_range": 0.3,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>"),
    ).save_pretrained(folder)


def _save_gemma3(folder: Path, tokenizer: Any) -> None:
    special = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token=tokenizer.pad_token,
        eos_token=tokenizer.eos_token,
        extra_special_tokens=special,
    )
    config = Gemma3Config(
        text_config={
            **_text_settings(tokenizer),
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 7,
        },
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_id=tokenizer.image_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )  # tied ones say the last token again
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 28, "width": 28}),
        tokenizer,
        image_seq_length=4,
        chat_template=chat_template("<start_of_image>"),
    ).save_pretrained(folder)


def _save_paligemma(folder: Path, tokenizer: Any) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token=tokenizer.pad_token,
        eos_token=tokenizer.eos_token,
        bos_token="<|im_start|>",
        extra_special_tokens={"image_token": "<image>"},
    )
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **_text_settings(tokenizer), "tie_word_embeddings": False},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=tokenizer.image_token_id,
        projection_dim=32,
        tie_word_embeddings=False,
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(folder)
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 4  # type: ignore[attr-defined]
    PaliGemmaProcessor(images, tokenizer, chat_template=chat_template("<image>")).save_pretrained(folder)


def _save_llama(folder: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = chat_template("")
    LlamaForCausalLM(LlamaConfig(**_text_settings(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
