"""Candidates scored together: equal to one at a time over families, heads, readouts, images and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, WORDS, tiny_image, tiny_prm

from dreamprm.config.errors import UserError
from dreamprm.models import PRM, EncodedCoT
from dreamprm.models import candidate_scoring as module
from dreamprm.models.candidate_scoring import PassLimits, can_share_prefixes, scored_questions
from dreamprm.models.prefix_tree import question_tree

FEW, MANY = PassLimits(3, 200), PassLimits(100, 100_000)


def _questions(seed: int = 0) -> list[tuple[str, list[Any], list[list[str]]]]:
    """Seven questions of 0 to 2 images and 1 to 5 candidates of 1 to 5 steps; some begin alike."""
    generator = np.random.default_rng(seed)
    words = [word for word in WORDS if word not in ("[unk]", "\n")]
    sizes = [(56, 56), (84, 28), (28, 56)]

    def text(low: int, high: int) -> str:
        return " ".join(generator.choice(words, size=generator.integers(low, high)))

    questions = []
    for index in range(7):
        images = [tiny_image(seed + index, size=sizes[(index + k) % 3]) for k in range(index % 3)]
        candidates = [
            [text(2, 9) for _ in range(generator.integers(1, 6))] for _ in range(1 + (2 * index) % 5)
        ]
        if index % 2:
            candidates = [[*candidates[0], *steps] for steps in candidates]  # a common first part
        questions.append((text(3, 8), images, candidates))
    return questions


def _encoded(prm: PRM, questions: list[tuple[str, list[Any], list[list[str]]]]) -> list[list[EncodedCoT]]:
    return [
        [prm.processor.encode(question, images, steps) for steps in candidates]
        for question, images, candidates in questions
    ]


def _one_by_one(prm: PRM, encoded: list[list[EncodedCoT]]) -> list[list[list[float]]]:
    with torch.no_grad():
        return [[prm(prm.processor.collate([one])).tolist() for one in candidates] for candidates in encoded]


def _flat(scores: list[list[list[float]]]) -> torch.Tensor:
    return torch.tensor([value for question in scores for steps in question for value in steps])


@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_together_equals_one_by_one(family: str, attention: str, readout: str) -> None:
    head = "vocab_logits" if readout == "chat_suffix" else "hidden"
    # float32 is what models are scored in; 1e-5 is what is promised of it.
    prm = tiny_prm(family, attn_implementation=attention, readout=readout, head=head)
    encoded = _encoded(prm, _questions())
    wanted = _one_by_one(prm, encoded)
    assert _flat(wanted).std() > 0.1  # a constant would pass for anything
    for limits in (FEW, MANY):
        scores = dict(scored_questions(prm, encoded, limits=limits))
        assert sorted(scores) == list(range(7))
        together = [scores[number] for number in range(7)]
        assert [[len(steps) for steps in one] for one in together] == [
            [len(steps) for steps in one] for one in wanted
        ]
        torch.testing.assert_close(_flat(together), _flat(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
def test_in_float64_the_difference_is_rounding(readout: str) -> None:
    prm = tiny_prm("qwen2_vl", dtype=torch.float64, attn_implementation="sdpa", readout=readout)
    encoded = _encoded(prm, _questions(1))
    scores = dict(scored_questions(prm, encoded, limits=FEW))
    # Norms and angles are computed in float32 inside; the rest is float64.
    together = _flat([scores[number] for number in range(7)])
    torch.testing.assert_close(together, _flat(_one_by_one(prm, encoded)), rtol=1e-9, atol=1e-9)


def _tokens_computed(prm: PRM, encoded: list[list[EncodedCoT]], monkeypatch: pytest.MonkeyPatch) -> int:
    """Tokens of all passes over the language model, without padding."""
    seen = []
    run = module.last_hidden_states

    def watched(backbone: Any, batch: Any, **options: Any) -> torch.Tensor:
        seen.append(int(batch["attention_mask"].sum()))
        return run(backbone, batch, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "last_hidden_states", watched)
        list(scored_questions(prm, encoded, limits=MANY))
    return sum(seen)


def test_what_is_shared_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prm = tiny_prm("qwen2_vl", attn_implementation="sdpa")
    image = tiny_image(0)
    candidates = [["one plus two", "three"], ["one plus two", "four five"], ["one plus two", "six"]]
    encoded = [[prm.processor.encode("how many ?", [image], steps) for steps in candidates]]
    whole = [len(one.rows[0].input_ids) for one in encoded[0]]
    # Tokens of "one plus two \n" are 4, of which the last is read: it belongs to each candidate.
    prompt = len(prm.processor.encode("how many ?", [image], ["one"]).rows[0].input_ids) - 2
    own = [length - prompt - 3 for length in whole]
    assert _tokens_computed(prm, encoded, monkeypatch) == prompt + 3 + sum(own)
    suffix = tiny_prm("qwen2_vl", attn_implementation="sdpa", readout="chat_suffix")
    steps = [["one plus", "two three", "four"]]
    (cot,) = [suffix.processor.encode("how many ?", [image], one) for one in steps]
    rows = [len(row.input_ids) for row in cot.rows]
    closing = len(suffix.processor.tokenizer.tokenize("<|im_end|>\n<|im_start|>assistant\n"))
    # The longest row once, and the closing tokens of the two other reads.
    assert _tokens_computed(suffix, [[cot]], monkeypatch) == rows[-1] + 2 * closing < sum(rows)


def test_an_attention_without_masks_computes_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    prm = tiny_prm("qwen2_vl", attn_implementation="sdpa")
    encoded = _encoded(prm, _questions())
    assert can_share_prefixes(prm.backbone)
    monkeypatch.setattr(module, "can_share_prefixes", lambda backbone: False)
    scores = dict(scored_questions(prm, encoded, limits=FEW))
    together = _flat([scores[number] for number in range(7)])
    torch.testing.assert_close(together, _flat(_one_by_one(prm, encoded)), rtol=1e-5, atol=1e-5)


def test_flash_attention_and_windows_are_told() -> None:
    prm = tiny_prm("qwen2_vl", attn_implementation="sdpa")
    text = prm.backbone.config.get_text_config()
    text._attn_implementation = "flash_attention_2"
    assert not can_share_prefixes(prm.backbone)
    text._attn_implementation = "sdpa"
    text.layer_types = ["full_attention", "sliding_attention"]
    assert not can_share_prefixes(prm.backbone)


def test_the_model_keeps_its_mode_and_scores_equal_score(tmp_path: Any) -> None:
    prm = tiny_prm("qwen2_vl", attn_implementation="sdpa").train()
    path = tmp_path / "image.png"
    tiny_image(0).save(path)
    candidates = [["one", "two three"], ["four"], ["one", "two three"]]
    scores = prm.score_candidates("how many ?", path, candidates, batch_size=2)
    assert prm.training
    for steps, row in zip(candidates, scores, strict=True):
        assert row == pytest.approx(prm.score("how many ?", path, steps), abs=1e-5)
    assert prm.score_candidates("how many ?", None, []) == []
    with pytest.raises(UserError, match="at least one step"):
        prm.score_candidates("how many ?", None, [["one"], []])


@pytest.mark.parametrize("rows, tokens, name", [(0, 10, "batch_size"), (1, 0, "batch_tokens")])
def test_limits_below_one_are_refused(rows: int, tokens: int, name: str) -> None:
    with pytest.raises(UserError, match=f"{name} must be >= 1, got 0"):
        PassLimits(rows, tokens)


def test_candidates_of_a_tree_have_the_same_images() -> None:
    prm = tiny_prm("qwen2_vl")
    one, other = (prm.processor.encode("how many ?", [tiny_image(seed)], ["one"]) for seed in (0, 1))
    with pytest.raises(ValueError, match="must show the same images"):
        question_tree([one, other])
    with pytest.raises(ValueError, match="at least one candidate"):
        question_tree([])
