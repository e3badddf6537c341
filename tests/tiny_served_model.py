"""A tiny LLaVA that has learned to write five-step responses and to go on with one that is begun."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dreamprm.generators.prompting import continue_instruction, five_stage_prompt

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<image>")
PATCH, SIZE = 14, 28
LEARNING_RATE = 1e-2

QUESTIONS = ("What colour is the box?", "Which box is the larger one?", "Is the box red or blue?")
OPTIONS = ("red", "blue")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def response(draw: random.Random) -> str:
    """A response as the model learns to write it: step 2 decides the answer, step 4 may stray from it."""
    seen = draw.choice(OPTIONS)
    taken = seen if draw.random() < 0.8 else draw.choice(OPTIONS)
    letter = "AB"[OPTIONS.index(taken)]
    return (
        "Step 1: The question asks for the colour of the box.\n"
        f"Step 2: The image shows a {seen} box.\n"
        "Step 3: Colours are named by their words.\n"
        f"Step 4: The box is {taken}, which is option {letter}.\n"
        "Step 5: So the option is found.\n"
        f"Final answer: {letter}"
    )


def save_tiny_served_model(folder: Path, *, steps: int = 200) -> Path:
    """Train the model and save it with processor, chat template and generation settings, as the hub has it.

    Args:
        folder: where it is written.
        steps: of training; with the default (3 s) nine of ten responses at temperature 1 are well-formed, and
            nearly all at 0.5; so are continuations by instruction.
    """
    torch.manual_seed(0)
    draw = random.Random(0)
    prompts = [five_stage_prompt(question, OPTIONS) for question in QUESTIONS]
    tokenizer = _tokenizer([*prompts, continue_instruction("Step 1:"), *(response(draw) for _ in range(8))])
    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, do_convert_rgb=True
        ),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    model = _model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 10) * (1 - step / steps)
        input_ids, labels = _batch(tokenizer, draw, prompts)
        model(input_ids=input_ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=end, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose merges fit the texts, so that any text can be written and these are short."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        extra_special_tokens=[SPECIAL[1], SPECIAL[3]],
    )


def _model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    hidden = 48
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        initializer_range=0.1,
    )
    tower = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=16,
    )
    config = LlavaConfig(
        text_config=text,
        vision_config=tower,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(config)


def _batch(
    tokenizer: PreTrainedTokenizerFast, draw: random.Random, prompts: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole response and the rest of one, each after its prompt; only what is to be written is learned."""
    ids, targets = [], []
    for begun in (0, draw.randint(1, 4)):
        lines = response(draw).splitlines()
        prefix, rest = "\n".join(lines[:begun]), "\n".join(lines[begun:])
        question = draw.choice(prompts)
        text = f"{question}\n\n{continue_instruction(prefix)}" if begun else question
        start = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            chat_template=CHAT_TEMPLATE,
            add_generation_prompt=True,
            tokenize=False,
        )
        prompt = tokenizer(start).input_ids
        reply = tokenizer(rest + "<|im_end|>").input_ids
        ids.append(torch.tensor(prompt + reply))
        targets.append(torch.tensor([-100] * len(prompt) + reply))
    pad = tokenizer.pad_token_id
    return (
        torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad),
        torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100),
    )
