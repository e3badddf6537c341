"""The word-level tokenizer: small, complete for all that the world says, with Qwen2-VL's chat format."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.corpus import generate_captions, generate_exercises
from dreamprm.sandbox.domains import DOMAINS, generate_domain
from dreamprm.sandbox.scenes import IMAGE_SIZE, Scene, draw
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.sandbox.suites import DEVELOPMENT, META, SUITES, generate_suite
from dreamprm.sandbox.tokenizer import SPECIAL_TOKENS, UNKNOWN, build_tokenizer, vocabulary


def _texts() -> list[str]:
    texts = generate_exercises() + [caption for _, caption in generate_captions(100, seed=0)]
    for spec in DOMAINS:
        for step_record in generate_domain(spec, questions=10, cots=2, seed=0).records:
            texts += [step_record.question, *step_record.steps]
    for suite in (*SUITES, META, DEVELOPMENT):
        for record in generate_suite(suite, questions=40, candidates=8, seed=0)[1]:
            texts.append(record.question)
            for candidate in record.candidates:
                texts += [candidate.text, *candidate.steps]
    return texts


def test_no_generated_text_holds_an_unknown_word() -> None:
    tokenizer = build_tokenizer()
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    texts = sorted(set(_texts()))
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert [text for text, ids in zip(texts, encoded) if unknown in ids][:3] == []
    assert all(len(ids) > 1 for ids in encoded)
    assert unknown in tokenizer.encode("bananas")  # so the check above can fail


def test_the_vocabulary_is_under_a_hundred_words_each_with_its_place_as_id() -> None:
    tokens = vocabulary()
    assert len(tokens) == len(set(tokens)) == len(build_tokenizer()) < 100
    assert build_tokenizer().convert_tokens_to_ids(tokens) == list(range(len(tokens)))


def test_special_tokens_are_single_and_special() -> None:
    tokenizer = build_tokenizer()
    for token in SPECIAL_TOKENS:
        assert tokenizer.encode(f"left{token}right", add_special_tokens=False)[1:-1] == [
            tokenizer.convert_tokens_to_ids(token)
        ]
        assert token in tokenizer.all_special_tokens
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token) == (
        "<|endoftext|>",
        "<|im_end|>",
        UNKNOWN,
    )


def test_a_heading_is_one_token() -> None:
    tokens = build_tokenizer().tokenize("Step 4: 2 plus 3 gives 5\nFinal answer: 5")
    assert tokens == ["Step 4:", "2", "plus", "3", "gives", "5", "Final answer:", "5"]


def test_the_chat_template_shows_images_before_the_text() -> None:
    tokenizer = build_tokenizer()
    content = [{"type": "image"}, {"type": "text", "text": "sum of left bar and right bar ?"}]
    shown = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert shown == (
        "<|im_start|>user <|vision_start|><|image_pad|><|vision_end|>sum of left bar and right "
        "bar ?<|im_end|><|im_start|>assistant "
    )
    plain = tokenizer.apply_chat_template([{"role": "user", "content": "what ?"}], tokenize=False)
    assert plain == "<|im_start|>user what ?<|im_end|>"


def test_it_is_saved_and_loaded_like_any_other(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Step 1: we need the sum\nStep 2: left is 3 and right is 4"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.chat_template == tokenizer.chat_template


def test_an_image_becomes_four_visual_tokens() -> None:
    processor = build_processor()
    image = draw(Scene("bar", "die", 1, 2, seed=0))
    encoded = processor.encode("sum ?", [image], ["Step 1: we need the sum"])
    (row,) = encoded.rows
    assert int(row.token_types.sum()) == 4
    assert [image.shape for image in encoded.images] == [(3, IMAGE_SIZE, IMAGE_SIZE)]


@pytest.mark.parametrize("width", [32, 64, 128])
def test_the_base_config_fits_the_tokenizer_and_its_rotary_sections_fill_a_head(width: int) -> None:
    tokenizer = build_tokenizer()
    config = base_config(SandboxConfig(hidden_size=width, text_layers=3, vision_layers=2), tokenizer)
    text, vision = config.text_config, config.vision_config
    assert text.vocab_size == len(tokenizer)
    assert config.image_token_id == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert (text.num_hidden_layers, vision.depth) == (3, 2)
    assert (vision.patch_size, vision.spatial_merge_size) == (14, 2)
    sections = text.rope_parameters["mrope_section"]
    assert 2 * sum(sections) == width // text.num_attention_heads and min(sections) > 0
