"""The base model: a small Qwen2-VL that learns to read from the pool, but nothing about judging CoTs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.data.sampling import EpochSampler
from dreamprm.data.text_reader import read_text_records
from dreamprm.models.backbone import language_model_loss
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor
from dreamprm.sandbox.scenes import IMAGE_SIZE
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.sandbox.tokenizer import build_tokenizer


def base_config(settings: SandboxConfig, tokenizer: Any) -> Qwen2VLConfig:
    """A small Qwen2-VL with the full structure: patch 14, merge 2, multimodal RoPE, GQA, tied embeddings."""
    width, heads = settings.hidden_size, 4
    token = tokenizer.get_vocab()
    half = width // heads // 2  # rotary pairs of a head, shared among time, height and width
    spatial = 3 * half // 8
    return Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": settings.text_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [half - 2 * spatial, spatial, spatial],
            },
            # Five times the usual standard deviation: a model of width 64 then learns to read much sooner.
            "initializer_range": 0.1,
            "bos_token_id": None,
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
        },
        vision_config={
            "depth": settings.vision_layers,
            "embed_dim": width,
            "hidden_size": width,
            "num_heads": heads,
            "mlp_ratio": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            "initializer_range": 0.1,
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def build_processor() -> PRMProcessor:
    """The sandbox's tokenizer with an image processor that keeps 56 x 56 images at their size."""
    pixels = IMAGE_SIZE * IMAGE_SIZE
    return PRMProcessor(build_tokenizer(), Qwen2VLImageProcessorPil(min_pixels=pixels, max_pixels=pixels))


def train_base_model(
    folder: Path,
    settings: SandboxConfig,
    *,
    seed: int,
    say: Callable[[str], None] = print,
) -> float:
    """Train on FOLDER/pool.jsonl by next-token prediction only; save the checkpoint in FOLDER/base.

    Returns:
        The mean loss per token (nats) over the last tenth of the steps.
    """
    torch.manual_seed(seed)
    processor = build_processor()
    prm = PRM.from_backbone(base_config(settings, processor.tokenizer), processor=processor)
    texts = read_text_records(folder / "pool.jsonl")
    sampler = EpochSampler(len(texts), settings.base_batch, seed=seed, setting="base_batch")
    images = processor.image_store()
    # The pool is small and is visited about seventeen times, so each text is encoded once.
    encoded = [processor.encode_text(text.text, images.open_all(text.images)) for text in texts]
    parameters = list(prm.backbone.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.base_lr, weight_decay=0.01)
    steps = settings.base_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 20, (steps - step) / (0.3 * steps))
    )
    losses: list[float] = []
    say(
        f"training the base model: {sum(p.numel() for p in parameters):,} parameters, "
        f"{steps} language-modelling steps"
    )
    for step in range(steps):
        batch = processor.collate_text([encoded[i] for i in sampler.rows(step)])
        loss = language_model_loss(prm(batch, output="token_logits"), batch["token_targets"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the base model's loss became {losses[-1]} at step {step}; lower base_lr"
            )
    tail = losses[-max(1, steps // 10) :]
    mean = sum(tail) / len(tail)
    say(f"base model: {mean:.3f} nats per token")
    prm.backbone.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    return mean
