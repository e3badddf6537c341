"""A word-level tokenizer of under 100 words, with the special tokens and chat format of Qwen2-VL."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from dreamprm.sandbox.reasoner import LARGEST_NUMBER
from dreamprm.sandbox.scene_questions import OPERATIONS
from dreamprm.sandbox.scenes import SKILLS

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
UNKNOWN = "<|unknown|>"
# One token per heading: it marks where a step begins and nothing else.
HEADINGS = tuple(f"Step {k}:" for k in range(1, 6)) + ("Final answer:",)
WORDS = (
    "user assistant of left and right ? , : plus minus larger gives then find the we need is means says add "
    "both smaller keep so answer get picture exercise on equals"
).split()

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def vocabulary() -> list[str]:
    """All tokens in order; a token's position is its id."""
    numbers = [str(number) for number in range(LARGEST_NUMBER + 1)]
    words = dict.fromkeys([*WORDS, *OPERATIONS, *SKILLS])
    return [*SPECIAL_TOKENS, UNKNOWN, *HEADINGS, *numbers, *words]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The sandbox's tokenizer; save it with `save_pretrained` like any other."""
    tokens = vocabulary()
    model = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN))
    model.pre_tokenizer = Split(Regex(r"Step \d:|Final answer:|\S+"), behavior="removed", invert=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token=UNKNOWN,
        additional_special_tokens=list(SPECIAL_TOKENS),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
