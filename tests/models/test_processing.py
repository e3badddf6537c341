"""Token rows, batches and the processor's files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, tiny_cots, tiny_image, tiny_prm, tiny_processor, tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from dreamprm.config.errors import UserError
from dreamprm.models import PRMProcessor, ProcessorSettings
from dreamprm.models.chat import ChatFrame, ChatTemplate, NoPlaceForImages

# The form of Qwen2-VL's own template, for one text and images before it.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION, STEPS = "how many bars", ["step 1 : two plus three", "step 2 : five", "final answer : 5"]


def decoded(processor: PRMProcessor, ids: np.ndarray) -> str:
    return processor.tokenizer.decode(ids.tolist())


def test_step_end_rows_hold_chat_then_steps_and_are_read_at_step_ends() -> None:
    processor = tiny_processor()
    cot = processor.encode(QUESTION, [tiny_image(size=(56, 84))], STEPS)
    (row,) = cot.rows
    assert cot.n_steps == 3 and row.token_types.sum() == 2 * 3
    assert (row.token_types == (row.input_ids == processor.image_token_id)).all()
    ends = [0, *[read + 1 for read in row.reads]]
    newline = processor.tokenizer.convert_tokens_to_ids("\n")
    for step, start, end in zip(STEPS, [row.text_start, *ends[1:]], ends[1:], strict=False):
        assert decoded(processor, row.input_ids[start:end]).split() == step.split()
        assert row.input_ids[end - 1] == newline
    assert row.reads[-1] == len(row.input_ids) - 1
    assert row.input_ids[row.text_start - 1] == newline  # the assistant's prompt ends "assistant\n"


@pytest.mark.parametrize("images", [0, 1, 2])
def test_rows_of_prefixes_are_prefixes_of_the_row(images: int) -> None:
    processor = tiny_processor()
    shown = [tiny_image(seed, size=(56, 28 * (seed + 1))) for seed in range(images)]
    whole = processor.encode(QUESTION, shown, STEPS).rows[0]
    for n in range(1, 4):
        prefix = processor.encode(QUESTION, shown, STEPS[:n]).rows[0]
        length = len(prefix.input_ids)
        assert np.array_equal(whole.input_ids[:length], prefix.input_ids)
        assert np.array_equal(whole.positions[:, :length], prefix.positions)
        assert prefix.reads == whole.reads[:n]


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["built-in", "own"])
def test_chat_suffix_rows_end_where_the_template_ends(template: str | None) -> None:
    processor = tiny_processor(readout="chat_suffix", step_separator=" ")
    processor.tokenizer.chat_template = template
    cot = processor.encode(QUESTION, [tiny_image()], STEPS)
    assert len(cot.rows) == cot.n_steps == 3
    suffix = processor.tokenizer("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    for n, row in enumerate(cot.rows, start=1):
        assert row.reads == (len(row.input_ids) - 1,)
        assert row.input_ids[-len(suffix) :].tolist() == suffix
        body = decoded(processor, row.input_ids[row.token_types == 0])
        assert (
            " ".join([QUESTION, *STEPS[:n]]).split()
            == body.split("<|vision_end|>")[1].split("<|im_end|>")[0].split()
        )


def test_chat_suffix_equals_the_whole_text_through_the_template() -> None:
    processor = tiny_processor(readout="chat_suffix")
    processor.tokenizer.chat_template = TEMPLATE
    row = processor.encode(QUESTION, [tiny_image()], STEPS).rows[-1]
    content = [{"type": "image"}, {"type": "text", "text": QUESTION + "\n\n" + "\n".join(STEPS)}]
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    text = text.replace("<|image_pad|>", "<|image_pad|>" * 4)
    assert row.input_ids.tolist() == processor.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_frame_uses_the_tokenizers_template_or_qwens() -> None:
    tokenizer = tiny_tokenizer()
    before, after = ChatFrame(tokenizer).around(2)
    assert before.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n")
    assert before.endswith("user\n" + "<|vision_start|><|image_pad|><|vision_end|>" * 2)
    assert after == "<|im_end|>\n<|im_start|>assistant\n"
    tokenizer.chat_template = TEMPLATE
    before, after = ChatFrame(tokenizer).around(0)
    assert (before, after) == ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")


def test_a_template_that_loses_the_text_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    with pytest.raises(UserError, match="writes the user's text 0 times and 0 image pads for 1 images"):
        ChatFrame(tokenizer).around(1)


SMOLLM2 = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PLAIN = {
    "joins texts": SMOLLM2,
    "prints what it is given": SMOLLM2.replace("+ message['content'] +", "}}{{ message['content'] }}{{"),
    "refuses lists": SMOLLM2.replace(
        "{{'<|im_start|>'",
        "{% if message['content'] is not string %}{{ raise_exception('texts only') }}{% endif %}"
        "{{'<|im_start|>'",
        1,
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_template_for_plain_texts_frames_them_and_refuses_images(name: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = PLAIN[name]
    frame = ChatFrame(tokenizer)
    assert frame.around(0) == ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(NoPlaceForImages, match="takes plain texts .* there are 2 here; use a template"):
        frame.around(2)


def test_a_template_that_fails_is_refused_in_one_message() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system message') }}"
    with pytest.raises(UserError, match="fails on a chat of one turn .*no system message.*; repair it"):
        ChatFrame(tokenizer).around(0)
    template = ChatTemplate(tokenizer, source="model x")
    with pytest.raises(UserError, match="chat template of model x fails"):
        template.render_text("what ?")


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_equal_the_backbones_own(family: str) -> None:
    prm = tiny_prm(family)
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(6)])
    expected, _ = prm.backbone.model.get_rope_index(
        batch["input_ids"],
        batch["mm_token_type_ids"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=batch["attention_mask"],
    )
    assert torch.equal(batch["position_ids"], expected)


def test_a_batch_lists_step_ends_in_record_order_and_pads_right() -> None:
    processor = tiny_processor()
    short = processor.encode("how many", [], ["one"])
    long = processor.encode(QUESTION, [tiny_image(1)], STEPS)
    batch = processor.collate([short, long])
    n = len(short.rows[0].input_ids)
    assert batch["attention_mask"][0].tolist() == [1] * n + [0] * (batch["input_ids"].shape[1] - n)
    assert batch["input_ids"][0, n:].eq(processor.pad_token_id).all()
    assert batch["step_rows"].tolist() == [0, 1, 1, 1]
    assert batch["step_cols"].tolist() == [*short.rows[0].reads, *long.rows[0].reads]
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4]] and batch["pixel_values"].shape == (16, 1176)
    assert {"pixel_values", "image_grid_thw"}.isdisjoint(processor.collate([short]))


def test_text_rows_predict_only_the_text() -> None:
    processor = tiny_processor()
    caption = processor.encode_text("two bars : 3 and 4", [tiny_image()])
    exercise = processor.encode_text("1 plus 2 equals 3")
    batch = processor.collate_text([caption, exercise])
    words = [processor.tokenizer.convert_ids_to_tokens(int(token)) for token in batch["token_targets"]]
    # Without an image nothing stands before the first word, so it cannot be predicted.
    assert words == "two bars : 3 and 4 plus 2 equals 3".split()
    assert batch["token_rows"].tolist() == [0] * 6 + [1] * 4
    assert batch["token_cols"].tolist() == [5, 6, 7, 8, 9, 10, 0, 1, 2, 3]
    assert batch["step_rows"].numel() == 0


def test_a_cots_likelihood_targets_are_its_steps() -> None:
    processor = tiny_processor(readout="chat_suffix")
    cot = processor.encode(QUESTION, [tiny_image()], STEPS, readout="step_end")
    batch = processor.collate_text([cot])
    assert decoded(processor, batch["token_targets"].numpy()).split() == " ".join(STEPS).split()
    at = batch["input_ids"][batch["token_rows"], batch["token_cols"] + 1]
    assert torch.equal(at, batch["token_targets"])


def test_saved_processor_equals_loaded(tmp_path: Path) -> None:
    processor = tiny_processor(min_pixels=56 * 56, max_pixels=84 * 84, max_length=99, step_separator=" .")
    processor.tokenizer.chat_template = TEMPLATE
    processor.save_pretrained(tmp_path)
    loaded = PRMProcessor.from_pretrained(tmp_path)
    assert loaded.settings == processor.settings
    before, after = ([p.encode(QUESTION, [tiny_image(size=(300, 200))], STEPS)] for p in (processor, loaded))
    first, second = processor.collate(before), loaded.collate(after)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    changed = PRMProcessor.from_pretrained(tmp_path, max_pixels=56 * 56, readout="chat_suffix")
    assert changed.readout == "chat_suffix" and changed.settings.max_length == 99
    assert changed.patcher.resized(tiny_image(size=(300, 200))).size <= 3 * 56 * 56


def test_too_long_a_record_is_refused_with_its_length() -> None:
    processor = tiny_processor()
    length = len(processor.encode(QUESTION, [], STEPS).rows[0].input_ids)
    assert tiny_processor(max_length=length).encode(QUESTION, [], STEPS).n_steps == 3
    with pytest.raises(UserError, match=f"the record has {length} tokens, but max_length is {length - 1}"):
        tiny_processor(max_length=length - 1).encode(QUESTION, [], STEPS)


def test_what_cannot_be_encoded_is_refused() -> None:
    processor = tiny_processor(step_separator="")
    with pytest.raises(UserError, match="at least one step, got none"):
        processor.encode(QUESTION, [], [])
    with pytest.raises(UserError, match="step 2 is ' ', which has no tokens"):
        processor.encode(QUESTION, [], ["one", " "])
    with pytest.raises(UserError, match="holds 1 <|image_pad|> tokens for 0 images".replace("|", r"\|")):
        processor.encode("what is <|image_pad|>", [], ["one"])
    with pytest.raises(UserError, match="needs a token to predict, got ''"):
        processor.encode_text("", [tiny_image()])
    with pytest.raises(UserError, match="needs a token to predict, got 'one'"):
        processor.encode_text("one")


def test_bad_settings_and_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown readout 'last'; use one of step_end, chat_suffix"):
        ProcessorSettings(readout="last")
    with pytest.raises(UserError, match="max_length must be >= 1, got 0"):
        ProcessorSettings(max_length=0)
    plain = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    plain.get_vocab = lambda: {"<|vision_end|>": 1}  # type: ignore[method-assign]
    with pytest.raises(
        UserError, match=r"no token <\|vision_start\|>, <\|image_pad\|>; use a Qwen2-VL tokenizer"
    ):
        PRMProcessor(plain)
    with pytest.raises(UserError, match="cannot read a tokenizer and an image processor from"):
        PRMProcessor.from_pretrained(tmp_path)
