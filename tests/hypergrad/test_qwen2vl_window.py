"""A window of a tiny random Qwen2-VL language model with eager attention."""

import dataclasses

import pytest
import torch
from bilevel_problems import Case, central_differences, gradient_without_hessian, relative_error
from torch.func import functional_call
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLTextConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator


class _Scorer(torch.nn.Module):
    """A score in (0, 1) at each token: the backbone, then a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Qwen2VLTextModel(Qwen2VLTextConfig(
            vocab_size=30, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.2, attn_implementation="eager", bos_token_id=None,
            eos_token_id=None, pad_token_id=None,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}))
        self.head = torch.nn.Linear(32, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        embeddings = self.backbone.embed_tokens(tokens)
        hidden = self.backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return self.head(hidden).squeeze(-1).sigmoid()


@pytest.fixture(scope="module")
def case() -> Case:
    torch.manual_seed(0)
    model = _Scorer().double()

    def losses(params, batch):
        tokens, labels = batch  # (domains, rows, length) each
        scores = functional_call(model, params, (tokens.flatten(0, 1),)).reshape(labels.shape)
        return (scores - labels).square().mean((1, 2))

    def weights(alpha, batch, losses):
        positive = torch.nn.functional.softplus(alpha["raw"])
        return positive / positive.mean()

    def batch(*, first_token=0):
        return (torch.randint(first_token, 25, (2, 2, 6)), torch.rand(2, 2, 6, dtype=torch.float64))

    outer = batch()
    outer[0][0, 0, :] = 28  # a token of no inner batch: its row of the embedding has v = 0
    return Case(
        BilevelProblem(outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
                       inner_losses=losses, weights=weights),
        params={name: p.detach() for name, p in model.named_parameters()},
        alpha={"raw": torch.tensor([0.5, -0.5], dtype=torch.float64)},
        batches=[batch() for _ in range(5)], outer_batch=outer, optimizer=AdamW(lr=1e-3),
    )


def test_unrolled_equals_central_differences(case):
    unrolled = build_estimator("unrolled")
    want = central_differences(lambda alpha: case.run(unrolled, alpha=alpha).outer_loss, case.alpha, h=1e-2)
    # transformers computes norms and the attention's softmax in float32 even for float64 models: rounding of
    # 1e-7 / h = 1e-5 and truncation h^2 = 1e-4, against a gradient of about 1e-2
    assert relative_error(case.run(unrolled).alpha_grad, want) < 3e-3


@pytest.mark.parametrize("mixed", ["finite_difference", "double_backward", "forward_mode"])
def test_first_order_equals_the_oracle_without_hessian(case, mixed):
    # radius 1e-3: against the float32 rounding inside the model
    settings = {"radius": 1e-3} if mixed == "finite_difference" else {}
    got = case.run(build_estimator("first_order", mixed=mixed, **settings)).alpha_grad
    # float32 rounding inside the model, see above
    assert relative_error(got, gradient_without_hessian(case)) < 1e-4


def test_first_order_approaches_unrolled_as_the_learning_rate_falls(case):
    errors = []
    for lr in (1e-5, 1e-6):  # small enough that terms in lr^2 do not show
        small = dataclasses.replace(case, optimizer=AdamW(lr=lr))
        want = small.run(build_estimator("unrolled")).alpha_grad
        errors.append(relative_error(
            small.run(build_estimator("first_order", mixed="double_backward")).alpha_grad, want))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)
