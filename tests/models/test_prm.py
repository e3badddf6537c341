"""The PRM: invariances of its scores, its heads, its parameters as a function, second order, real shapes."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from tiny_models import FAMILIES, tiny_config, tiny_cots, tiny_image, tiny_prm, tiny_processor
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Qwen2VLConfig

from dreamprm.config.choices import HEADS
from dreamprm.config.errors import UserError
from dreamprm.models import PRM, EncodedCoT
from dreamprm.models.backbone import make_backbone, with_image_features

Scorer = Callable[[PRM, list[EncodedCoT]], torch.Tensor]
# float64 rounding, times the few hundred operations of two layers; scores here are of order 1 to 10.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_equals_prefix_by_prefix(family: str, attention: str, step_logits: Scorer) -> None:
    prm = tiny_prm(family, dtype=torch.float64, attn_implementation=attention)
    encode = prm.processor.encode
    for question, images, steps in tiny_cots(6):
        whole = step_logits(prm, [encode(question, images, steps)])
        by_prefix = [
            step_logits(prm, [encode(question, images, steps[:n])])[-1] for n in range(1, len(steps) + 1)
        ]
        torch.testing.assert_close(whole, torch.stack(by_prefix), **ROUNDING)
        assert len(steps) == 1 or whole.std() > 1e-3  # a constant would pass for anything


@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_of_one_equals_batch_of_many(family: str, head: str, readout: str, step_logits: Scorer) -> None:
    prm = tiny_prm(family, dtype=torch.float64, head=head, readout=readout)
    encoded = [prm.processor.encode(*cot) for cot in tiny_cots(6)]
    assert {len(item.images) for item in encoded} == {0, 1, 2}  # rows with and without images together
    alone = torch.cat([step_logits(prm, [item]) for item in encoded])
    torch.testing.assert_close(step_logits(prm, encoded), alone, **ROUNDING)
    without = [item for item in encoded if not item.images]
    picked = torch.cat([step_logits(prm, [item]) for item in without])
    torch.testing.assert_close(step_logits(prm, without), picked, **ROUNDING)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_depend_on_image_question_and_order(family: str, step_logits: Scorer) -> None:
    prm = tiny_prm(family, dtype=torch.float64)

    def score(question: str, seed: int, steps: list[str]) -> torch.Tensor:
        return step_logits(prm, [prm.processor.encode(question, [tiny_image(seed)], steps)])

    base = score("how many", 0, ["one", "two"])
    for other in (score("how many", 1, ["one", "two"]), score("what is", 0, ["one", "two"])):
        assert (base - other).abs().min() > 1e-6
    assert abs(base[1] - score("how many", 0, ["six", "two"])[1]) > 1e-6
    assert base[0] == pytest.approx(score("how many", 0, ["one", "three"])[0].item(), abs=1e-12)  # causal


def test_a_batch_without_position_ids_gives_the_same_scores() -> None:
    prm = tiny_prm(dtype=torch.float64)
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(4)])
    expected = prm(batch)
    del batch["position_ids"]
    torch.testing.assert_close(prm(batch), expected, **ROUNDING)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_share_an_image_equal_rows_with_copies_of_it(family: str) -> None:
    prm = tiny_prm(family, dtype=torch.float64)
    sizes = [(56, 56), (84, 28)]
    shown = [[0], [1, 0], [], [0, 0], [1]]
    encoded = [
        prm.processor.encode("how many", [tiny_image(one, size=sizes[one]) for one in images], ["one", "two"])
        for images in shown
    ]
    batch = prm.processor.collate(encoded)
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4], [1, 2, 6]]
    copies = {name: value for name, value in batch.items() if name != "image_token_index"}
    patches = batch["pixel_values"].split([16, 12])
    order = [one for images in shown for one in images]
    copies["pixel_values"] = torch.cat([patches[one] for one in order])
    copies["image_grid_thw"] = batch["image_grid_thw"][order]
    torch.testing.assert_close(prm(batch), prm(copies), **ROUNDING)
    weight = prm.backbone.model.visual.patch_embed.proj.weight
    shared, apart = (torch.autograd.grad(prm(each).square().sum(), weight)[0] for each in (batch, copies))
    # Float32 inside RMSNorm and eager softmax: summed in another order.
    assert (shared - apart).norm() < 1e-6 * apart.norm()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_image_features_computed_ahead_give_the_same_bits(family: str, shared: bool) -> None:
    prm = tiny_prm(family)
    images = [tiny_image(0), tiny_image(0 if shared else 1, size=(56, 56) if shared else (84, 28))]
    batch = prm.processor.collate(
        [prm.processor.encode("how many", [image], ["one", "two"]) for image in images]
    )
    assert ("image_token_index" in batch) == shared
    ahead = with_image_features(prm.backbone, batch)
    assert not {"pixel_values", "image_grid_thw", "image_token_index"} & set(ahead)
    scores, expected = prm(ahead), prm(batch)
    assert torch.equal(scores, expected)
    trained = [prm.head.weight, prm.backbone.model.language_model.layers[0].mlp.up_proj.weight]
    grads = [torch.autograd.grad(each.sum(), trained) for each in (scores, expected)]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))
    seen = prm.backbone.model.visual.patch_embed.proj.weight
    (none,) = torch.autograd.grad(prm(ahead).sum(), seen, allow_unused=True)
    assert none is None  # the tower is left out of the graph


def test_a_batch_without_images_has_no_features_to_compute() -> None:
    prm = tiny_prm()
    batch = prm.processor.collate([prm.processor.encode("how many", [], ["one"])])
    assert with_image_features(prm.backbone, batch) == batch


def test_eager_equals_sdpa(step_logits: Scorer) -> None:
    encoded = [tiny_processor().encode(*cot) for cot in tiny_cots(4)]
    first, second = (
        step_logits(tiny_prm(dtype=torch.float64, attn_implementation=name), encoded)
        for name in ("eager", "sdpa")
    )
    # transformers' eager attention takes its softmax in float32 whatever the model's dtype.
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tie", [True, False])
def test_vocab_logits_head_is_linear_in_the_full_logits(tie: bool) -> None:
    prm = tiny_prm(head="vocab_logits", dtype=torch.float64, tie=tie)
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(4)])
    full = prm.backbone(
        **{name: batch[name] for name in batch if name not in ("step_rows", "step_cols", "position_ids")}
    ).logits  # (R, L, vocab)
    expected = nn.functional.linear(full, prm.head.weight, prm.head.bias)[
        batch["step_rows"], batch["step_cols"], 0
    ]
    torch.testing.assert_close(prm(batch), expected, **ROUNDING)
    everything = prm(batch, output="token_logits")
    torch.testing.assert_close(
        everything[batch["attention_mask"] == 1], full[batch["attention_mask"] == 1], **ROUNDING
    )


def test_token_logits_are_read_where_the_batch_says() -> None:
    prm = tiny_prm(dtype=torch.float64)
    processor = prm.processor
    batch = processor.collate_text(
        [processor.encode_text("two bars", [tiny_image()]), processor.encode_text("1 plus 2")]
    )
    picked = prm(batch, output="token_logits")
    rows, cols = batch.pop("token_rows"), batch.pop("token_cols")
    torch.testing.assert_close(picked, prm(batch, output="token_logits")[rows, cols], **ROUNDING)
    assert picked.shape == (4, len(processor.tokenizer))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_functional_call_equals_the_module(family: str, tie: bool) -> None:
    prm = tiny_prm(family, tie=tie, head="vocab_logits")
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(4)])
    params = prm.trainable_params()
    assert torch.equal(functional_call(prm, params, (batch,)), prm(batch))
    moved = {name: (value * 1.1).detach() for name, value in params.items()}
    called = functional_call(prm, moved, (batch,))
    assert not torch.equal(called, prm(batch))
    prm.load_params(moved)
    assert torch.equal(called, prm(batch))


def test_trainable_params_are_own_leaves_with_tied_weights_once() -> None:
    prm = tiny_prm(tie=True)
    params = prm.trainable_params()
    assert "backbone.lm_head.weight" not in params
    assert "backbone.lm_head.weight" in tiny_prm(tie=False).trainable_params()
    own = {value.data_ptr() for value in prm.parameters()}
    assert all(
        value.is_leaf and value.requires_grad and value.data_ptr() not in own for value in params.values()
    )
    assert sum(value.numel() for value in params.values()) == sum(value.numel() for value in prm.parameters())
    frozen = prm.trainable_params(freeze_vision=True)
    assert {name for name in params if ".visual." in name} == set(params) - set(frozen) != set()
    prm.to(torch.bfloat16)
    prm.head.float()
    assert {value.dtype for value in prm.trainable_params().values()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_vision_language_and_head(family: str) -> None:
    prm = tiny_prm(family, dtype=torch.float64, attn_implementation="sdpa")
    params = prm.trainable_params()
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(4)])
    names = [
        name for name in params if name.endswith(("qkv.weight", "patch_embed.proj.weight", "q_proj.weight"))
    ]
    names.append("head.weight")
    gradients = torch.autograd.grad(
        functional_call(prm, params, (batch,)).square().mean(), [params[name] for name in names]
    )
    assert len(names) >= 6 and all(gradient.abs().max() > 0 for gradient in gradients)
    name = "backbone.model.visual.patch_embed.proj.weight"
    direction = torch.randn_like(params[name])

    def loss(shift: float) -> torch.Tensor:
        moved = {**params, name: params[name] + shift * direction}
        return functional_call(prm, moved, (batch,)).square().mean()

    expected = fourth_order_difference(loss, 3e-3)
    assert (gradients[names.index(name)] * direction).sum().item() == pytest.approx(
        expected.item(), rel=DIFFERENCED
    )


# transformers computes RMSNorm and eager softmax in float32 whatever the model's dtype. A difference
# quotient so carries about 1e-7 * |value| / (step * |derivative|): 1e-5 to 1e-4 at these steps (measured
# 5e-6 to 2e-5), where the fourth-order formula's own error, step^4, is as small.
DIFFERENCED = 1e-4


def fourth_order_difference(function: Callable[[float], torch.Tensor], step: float) -> torch.Tensor:
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


WEIGHT = "backbone.model.language_model.layers.0.self_attn.q_proj.weight"


def gradient(prm: PRM, weight: torch.Tensor, *, create_graph: bool = False) -> torch.Tensor:
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(3)])
    loss = functional_call(prm, {**prm.trainable_params(), WEIGHT: weight}, (batch,)).square().mean()
    return torch.autograd.grad(loss, weight, create_graph=create_graph)[0]


def hessian_vector_product(prm: PRM, vector: torch.Tensor) -> torch.Tensor:
    weight = prm.trainable_params()[WEIGHT]
    return torch.autograd.grad((gradient(prm, weight, create_graph=True) * vector).sum(), weight)[0]


def differenced_product(prm: PRM, vector: torch.Tensor) -> torch.Tensor:
    weight = prm.trainable_params()[WEIGHT]
    return fourth_order_difference(
        lambda shift: gradient(prm, (weight + shift * vector).detach().requires_grad_()), 1e-3
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_eager_attention_supports_second_order(family: str) -> None:
    prm = tiny_prm(family, dtype=torch.float64)
    assert prm.supports_second_order
    vector = torch.randn_like(prm.trainable_params()[WEIGHT])
    exact = differenced_product(tiny_prm(family, dtype=torch.float64, attn_implementation="sdpa"), vector)
    assert (hessian_vector_product(prm, vector) - exact).norm() < DIFFERENCED * exact.norm()


def test_fused_attention_has_no_second_order_and_says_so() -> None:
    prm = tiny_prm(dtype=torch.float64, attn_implementation="sdpa")
    vector = torch.randn_like(prm.trainable_params()[WEIGHT])
    assert not prm.supports_second_order
    with pytest.raises(RuntimeError, match="derivative for .* is not implemented"):
        hessian_vector_product(prm, vector)
    with sdpa_kernel(SDPBackend.MATH):
        assert prm.supports_second_order
        product = hessian_vector_product(prm, vector)
    exact = differenced_product(prm, vector)
    assert (product - exact).norm() < DIFFERENCED * exact.norm()


def test_logits_are_float32_under_autocast() -> None:
    prm = tiny_prm()
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(3)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, tokens = prm(batch), prm(batch, output="token_logits")
    assert logits.dtype == tokens.dtype == torch.float32
    # bfloat16 has 8 bits, so states carry errors of about 1 %; the head adds none of its own.
    assert 0 < (logits - prm(batch)).abs().max() < 0.1 * prm(batch).abs().max()


def test_true_2b_shapes_count_2_2e9_parameters() -> None:
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision_config={
            "depth": 32,
            "embed_dim": 1280,
            "num_heads": 16,
            "hidden_size": 1536,
            "patch_size": 14,
            "spatial_merge_size": 2,
        },
        tie_word_embeddings=True,
        image_token_id=tiny_processor().image_token_id,
    )
    with torch.device("meta"):
        backbone = make_backbone(config, attn_implementation="sdpa", dtype=torch.float32)
        prm = PRM(backbone, tiny_processor())
    count = sum(parameter.numel() for parameter in prm.parameters())
    assert count == sum(value.numel() for value in prm.trainable_params().values())
    assert 2.20e9 < count < 2.22e9


def test_wrong_names_and_parts_are_refused() -> None:
    prm = tiny_prm()
    with pytest.raises(UserError, match="unknown head 'value'; use one of hidden, vocab_logits"):
        PRM(prm.backbone, prm.processor, head="value")
    with pytest.raises(UserError, match="patch size is 14 in the backbone's config and 16 in the processor"):
        PRM(prm.backbone, tiny_processor(patch_size=16))
    with pytest.raises(UserError, match="unknown output 'logits'; use one of step_logits, token_logits"):
        prm(prm.processor.collate([prm.processor.encode("what", [], ["one"])]), output="logits")
    with pytest.raises(UserError, match=r"no parameter 'phi' \(1 unknown in all\)"):
        prm.load_params({"phi": torch.zeros(1)})
    with pytest.raises(UserError, match="made from a config needs a processor"):
        PRM.from_backbone(tiny_config())
    with pytest.raises(UserError, match="readout is 'chat_suffix', the processor's is 'step_end'"):
        PRM.from_backbone(tiny_config(), processor=tiny_processor(), readout="chat_suffix")
    with pytest.raises(UserError, match="unknown attn_implementation 'flash'; use one of sdpa, eager, fl"):
        PRM.from_backbone(tiny_config(), processor=tiny_processor(), attn_implementation="flash")
    if find_spec("flash_attn") is None:
        with pytest.raises(UserError, match="attn_implementation=flash_attention_2 cannot be used: "):
            PRM.from_backbone(
                tiny_config(), processor=tiny_processor(), attn_implementation="flash_attention_2"
            )
    with pytest.raises(
        UserError, match="needs model_type, one of qwen2_vl, qwen2_5_vl, qwen3_vl, qwen2, .*; got 'bert'"
    ):
        PRM.from_backbone({"model_type": "bert"}, processor=tiny_processor())
    small = tiny_config()
    small.text_config.vocab_size = 12
    with pytest.raises(UserError, match=r"the tokenizer has \d+ tokens, but the backbone embeds 12"):
        PRM.from_backbone(small, processor=tiny_processor())
