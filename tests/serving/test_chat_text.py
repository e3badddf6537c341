"""Questions and responses in chat templates, and the steps of a response."""

from __future__ import annotations

import pytest

from dreamprm.config.errors import UserError
from dreamprm.serving.chat_text import Chat, read_chat, steps_of

QWEN = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}"
)


@pytest.mark.parametrize("template", [QWEN, LLAMA])
@pytest.mark.parametrize("response", ["a\n\nb", ""])
def test_a_conversation_is_taken_apart(template: str, response: str) -> None:
    assert read_chat(template.format("q?\nor r?", response)) == Chat("q?\nor r?", 0, response)
    image = "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>"
    assert read_chat(template.format(f"{image}\n{image}q?", response)) == Chat("q?", 2, response)


def test_a_question_alone_has_no_response_and_plain_text_is_no_conversation() -> None:
    assert read_chat("<|im_start|>user\nq<|im_end|>\n") == Chat("q", 0, None)
    assert read_chat("what is <b> and 2 < 3 ?") is None
    assert read_chat("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[INST] q [/INST] a", "in a chat template other than"),
        ("<start_of_turn>user\nq<end_of_turn>\n", "in a chat template other than"),
        ("<|im_start|>system\nq<|im_end|>\n", "its turns are none"),
        (QWEN.format("q", "a<|im_end|>\n<|im_start|>user\nr<|im_end|>\n"), "user, assistant, user"),
        ("and then <|im_start|>user\nq<|im_end|>\n", "in a chat template other than"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_chat(text)


@pytest.mark.parametrize(
    ("response", "steps"),
    [
        ("One\n\nTwo", ("One", "Two")),
        ("one\n\ntwo", ("one\n\ntwo",)),
        ("one<extra_0>two<extra_0>", ("one", "two")),
        ("one<extra_0>\n\ntwo \n\n more<extra_0> <|im_end|>", ("one", "two \n\n more")),
        ("<think>hm\n\nhm</think>One\n\nTwo<|im_end|>\n<|im_start|>user\nno", ("One", "Two")),
        ("Step 1: one\n\nso\n\nStep 2: two", ("Step 1: one\n\nso", "Step 2: two")),
        ("", ()),
        (" \n<|im_end|>", ()),
    ],
)
def test_steps_of_a_response(response: str, steps: tuple[str, ...]) -> None:
    assert steps_of(response, split="auto", step_token="<extra_0>") == steps
