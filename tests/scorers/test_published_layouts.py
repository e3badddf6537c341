"""PRMs of other projects on tiny random checkpoints: scores equal to a plain transformers computation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    SPECIAL,
    WORDS,
    byte_level_tokenizer,
    tiny_config,
    tiny_image,
    tiny_text_config,
    tiny_text_tokenizer,
    tiny_tokenizer_backend,
)
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForTokenClassification,
    PreTrainedTokenizerFast,
    Qwen2Model,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.config.errors import UserError
from dreamprm.models.chat import IMAGE_BLOCK, NoPlaceForImages
from dreamprm.scorers.base import CandidateScores, ScoringTask
from dreamprm.scorers.local import LocalScorer
from dreamprm.scorers.opening import open_scorer
from dreamprm.scorers.settings import LayoutSettings, ScorerSettings

QUESTION = "what is the sum of one and two ?"
STEPS = ("one plus two", "equals three", "final answer : 3")
OTHER = ("one plus two", "minus four five six")
TASK = ScoringTask(QUESTION, (), (STEPS, OTHER))
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' if p['type'] == 'image' else p['text'] }}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(*extra: str) -> Any:
    made = tiny_text_tokenizer(extra=extra)
    made.chat_template = TEMPLATE
    return made


def byte_tokenizer(*extra: str) -> Any:
    """For a Qwen2 checkpoint: transformers reads its tokenizer as a byte-level BPE, whatever it was."""
    made = byte_level_tokenizer()
    made.add_special_tokens({"extra_special_tokens": list(extra)}, replace_extra_special_tokens=False)
    made.chat_template = TEMPLATE
    return made


def settings(folder: Path, layout: str | None = None, **own: Any) -> ScorerSettings:
    return ScorerSettings(model=str(folder), layout=LayoutSettings(layout, own), device="cpu")


def scores(config: ScorerSettings, task: ScoringTask = TASK) -> list[list[float]]:
    scorer = open_scorer(config)
    assert scorer.gives == "step"
    (found,) = scorer.score([task])
    values = []
    for one in found:
        assert isinstance(one, CandidateScores), one
        values.append(list(one.log_odds))
    return values


def close(found: list[list[float]], wanted: list[list[float]]) -> None:
    assert [len(one) for one in found] == [len(one) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
        assert len({round(value, 3) for value in other}) == len(other)  # not all the same


@pytest.fixture(scope="module")
def qwen_prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the form of Qwen2.5-Math-PRM: model.*, score.0.*, score.2.*, and a config that names other code."""
    folder = tmp_path_factory.mktemp("qwen-prm")
    torch.manual_seed(1)
    config = tiny_text_config("qwen2", vocabulary=300)
    model = Qwen2Model(config)
    score = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state |= {f"score.{name}": value for name, value in score.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    written = config.to_dict() | {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
            "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(written))
    byte_tokenizer("<extra_0>").save_pretrained(folder)
    return folder


def test_qwen_s_step_token_classifier_is_recognised(qwen_prm: Path) -> None:
    state = load_file(qwen_prm / "model.safetensors")
    model = Qwen2Model(tiny_text_config("qwen2", vocabulary=300))
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    score = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    score.load_state_dict({k.removeprefix("score."): v for k, v in state.items() if k.startswith("score.")})
    made = byte_tokenizer("<extra_0>")
    wanted = []
    for steps in (STEPS, OTHER):
        messages = [
            {
                "role": "system",
                "content": "Please reason step by step, and put your final answer within \\boxed{}.",
            },
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
        ]
        ids = made.encode(made.apply_chat_template(messages, tokenize=False), return_tensors="pt")
        with torch.no_grad():
            logits = score(model.eval()(ids).last_hidden_state)[0]
        p = torch.softmax(logits[ids[0] == made.convert_tokens_to_ids("<extra_0>")], dim=-1)[:, 1]
        wanted.append(torch.logit(p.double()).tolist())
    close(scores(settings(qwen_prm)), wanted)
    identity = open_scorer(settings(qwen_prm)).identity()
    assert identity["layout"] == {"name": "qwen_prm"} and identity["files"]["model"]["model.safetensors"]


def test_a_step_token_inside_a_step_is_refused_in_its_place(qwen_prm: Path) -> None:
    task = ScoringTask(QUESTION, (), (("one <extra_0> two", "three"), OTHER))
    (found,) = open_scorer(settings(qwen_prm)).score([task])
    assert isinstance(found[0], UserError) and "'<extra_0>' 3 times for 2 steps" in str(found[0])
    assert isinstance(found[1], CandidateScores)


@pytest.fixture(scope="module")
def plus_minus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model, as Math-Shepherd's PRM is one, with its first token."""
    folder = tmp_path_factory.mktemp("math-shepherd")
    torch.manual_seed(2)
    AutoModelForCausalLM.from_config(tiny_text_config("mistral", vocabulary=80)).save_pretrained(folder)
    made = tokenizer("ки", "+", "-", "<s>")
    made.bos_token = "<s>"
    made.save_pretrained(folder)
    return folder


def test_math_shepherd_compares_plus_and_minus_at_its_mark(plus_minus: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(plus_minus)
    made = tokenizer("ки", "+", "-", "<s>")
    mark, good, bad = (made.convert_tokens_to_ids(token) for token in ("ки", "+", "-"))
    wanted = []
    for steps in (STEPS, OTHER):
        ids = made.encode(f"{QUESTION} " + "\n".join(f"{step} ки" for step in steps), return_tensors="pt")
        with torch.no_grad():
            p = model(ids).logits[0][:, [good, bad]].softmax(dim=-1)[:, 0]
        wanted.append(torch.logit(p[ids[0] == mark].double()).tolist())
    close(scores(settings(plus_minus, "math_shepherd")), wanted)


def test_turns_answered_by_plus_or_minus(plus_minus: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(plus_minus)
    made = tokenizer("ки", "+", "-", "<s>")
    good, bad = (made.convert_tokens_to_ids(token) for token in ("+", "-"))
    wanted = []
    for steps in (STEPS, OTHER):
        values = []
        for end in range(1, len(steps) + 1):  # turn by turn, as a chat that is generated
            messages: list[dict[str, str]] = []
            for number, step in enumerate(steps[:end]):
                shown = step if number else f"### Question:\n{QUESTION}\n\n### Solution Process:\n{step}"
                messages.append({"role": "user", "content": shown})
                if number < end - 1:
                    messages.append({"role": "assistant", "content": "+"})
            chat = made.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = made.encode(chat, return_tensors="pt", add_special_tokens=False)
            with torch.no_grad():
                logits = model(ids).logits[0, -1]
            values.append(float(logits[good] - logits[bad]))
        wanted.append(values)
    close(scores(settings(plus_minus, "visualprm")), wanted)


def test_turns_show_images_to_a_qwen_vl(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = AutoModelForImageTextToText.from_config(tiny_config(layers=1, vision_layers=1, tie=False)).eval()
    words = tuple({"plus": "+", "minus": "-"}.get(word, word) for word in WORDS)
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tiny_tokenizer_backend(words)),
        unk_token="[unk]",
        pad_token="<|pad|>",
        extra_special_tokens=list(SPECIAL[1:]),
        chat_template=TEMPLATE,
    )
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    for part in (model, made, images):
        part.save_pretrained(tmp_path)
    image = tiny_image()
    pixels = images(images=[image], return_tensors="pt")
    pads = int(pixels["image_grid_thw"].prod()) // 4
    turns = [f"### Question:\n{IMAGE_BLOCK}\n{QUESTION}\n\n### Solution Process:\n{STEPS[0]}", STEPS[1]]
    values = []
    for end in (1, 2):
        chat = "".join(
            f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"
            + ("+<|im_end|>\n" if number < end - 1 else "")
            for number, turn in enumerate(turns[:end])
        )
        ids = made.encode(chat.replace("<|image_pad|>", "<|image_pad|>" * pads), return_tensors="pt")
        kinds = (ids == made.convert_tokens_to_ids("<|image_pad|>")).long()
        with torch.no_grad():
            logits = model(input_ids=ids, mm_token_type_ids=kinds, **pixels).logits[0, -1]
        values.append(
            float(logits[made.convert_tokens_to_ids("+")] - logits[made.convert_tokens_to_ids("-")])
        )
    task = ScoringTask(QUESTION, (image,), (STEPS[:2],))
    close(scores(settings(tmp_path, "visualprm"), task), [values])
    # The other layouts have no place for an image, in a model that could see it.
    (found,) = open_scorer(settings(tmp_path, "math_shepherd")).score([task])
    assert isinstance(found[0], NoPlaceForImages) and "layout is one for texts" in str(found[0])


def test_trl_s_token_classifier_is_recognised(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = tiny_text_config("qwen2", vocabulary=300)
    config.num_labels = 2
    model = AutoModelForTokenClassification.from_config(config)
    nn.init.normal_(model.score.weight, std=0.5)
    nn.init.normal_(model.score.bias)
    model.eval().save_pretrained(tmp_path)
    made = byte_tokenizer()
    made.save_pretrained(tmp_path)
    wanted = []
    for steps in (STEPS, OTHER):
        ids, ends = made.encode(QUESTION, add_special_tokens=False), []
        for step in steps:
            ids = (
                ids
                + made.encode(step, add_special_tokens=False)
                + made.encode("\n", add_special_tokens=False)
            )
            ends.append(len(ids) - 1)
        with torch.no_grad():
            p = torch.softmax(model(torch.tensor([ids])).logits[0, ends], dim=-1)[:, 1]
        wanted.append(torch.logit(p.double()).tolist())
    close(scores(settings(tmp_path)), wanted)
    # Another separator is another row.
    assert scores(settings(tmp_path, "trl", separator=".")) != scores(settings(tmp_path))
    with pytest.raises(UserError, match="has no tokens"):
        (found,) = open_scorer(settings(tmp_path, "trl", separator="")).score([TASK])
        raise found[0]


def test_what_cannot_be_is_refused(plus_minus: Path, qwen_prm: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no step head"):
        open_scorer(settings(plus_minus, "qwen_prm"))
    with pytest.raises(UserError, match="no head of a token classifier"):
        open_scorer(settings(plus_minus, "trl"))
    with pytest.raises(UserError, match="config.json is missing"):
        open_scorer(settings(tmp_path, "trl"))
    with pytest.raises(UserError, match="holds no saved PRM"):
        open_scorer(settings(plus_minus))  # nothing says what it is
    with pytest.raises(UserError, match="leave it null for scores=likelihood"):
        config = settings(plus_minus, "math_shepherd")
        config.scores = "likelihood"
        open_scorer(config)
    (tmp_path / "config.json").write_text('{"model_type": "internvl_chat"}')
    with pytest.raises(UserError, match="layers are code of its own"):
        open_scorer(settings(tmp_path, "visualprm"))
    with pytest.raises(ValueError, match="one of model, server and critic.name must be given"):
        ScorerSettings().check()
    prm = open_scorer(settings(qwen_prm))
    assert isinstance(prm, LocalScorer)
    with pytest.raises(NoPlaceForImages, match="reads text only"):
        prm.prm.processor.frame(1)
    (found,) = prm.score([ScoringTask(QUESTION, (tiny_image(),), (STEPS,))])
    assert isinstance(found[0], UserError) and "reads text only" in str(found[0])
