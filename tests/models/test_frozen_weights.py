"""What is not trained may be stored in bfloat16: it computes what a model with rounded weights computes."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_models import FAMILIES, tiny_cots, tiny_prm
from torch import Tensor
from torch.func import functional_call

from dreamprm.models import PRM
from dreamprm.models.frozen_weights import StoredLinear, round_frozen, stores_frozen
from dreamprm.models.trained_part import store_untrained, trained_names

TRAINED = ["head.*", "*norm*", "*.bias"]


def results(prm: PRM, names: list[str], *, autocast: bool) -> list[Tensor]:
    """Scores, token logits, and the gradients of both in what is trained."""
    batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(3)])
    own = dict(prm.named_parameters())
    params = {name: own[name].detach().requires_grad_() for name in names}
    found = []
    for output in ("step_logits", "token_logits"):
        with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext():
            values = functional_call(prm, params, (batch,), {"output": output})
        grads = torch.autograd.grad(values.square().mean(), list(params.values()), allow_unused=True)
        found += [values.detach(), *(grad for grad in grads if grad is not None)]
    return found


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_model_with_rounded_weights_to_the_bit(family: str, autocast: bool) -> None:
    stored, rounded = (tiny_prm(family, layers=1, vision_layers=1) for _ in range(2))
    names = trained_names(stored, patterns=TRAINED)
    count = store_untrained(stored, names)
    round_frozen(rounded.backbone)
    for prm in (stored, rounded):
        for name, parameter in prm.named_parameters():
            parameter.requires_grad_(name in names)
    narrow = {name: p for name, p in stored.named_parameters() if p.dtype == torch.bfloat16}
    assert count == sum(p.numel() for p in narrow.values()) > 0
    assert not narrow.keys() & set(names)
    wide = {name: p.dim() for name, p in stored.named_parameters() if p.dtype != torch.bfloat16}
    assert {name for name, dims in wide.items() if dims > 1} == {
        "head.weight",
        "backbone.model.visual.patch_embed.proj.weight",
    }
    assert stores_frozen(stored) and not stores_frozen(rounded)
    assert stored.backbone.model.visual.dtype == torch.float32  # which pixels are cast to
    for one, other in zip(
        results(stored, names, autocast=autocast), results(rounded, names, autocast=autocast), strict=True
    ):
        assert torch.equal(one, other)


def test_rounded_weights_are_other_weights() -> None:
    plain, rounded = tiny_prm(layers=1), tiny_prm(layers=1)
    round_frozen(rounded.backbone)
    names = trained_names(plain, patterns=["head.*"])
    one, other = (results(prm, names, autocast=False)[0] for prm in (plain, rounded))
    assert not torch.equal(one, other)


# Of torch itself, when it loads what forward mode needs.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("bias", [False, True])
def test_its_derivatives_of_every_order_are_right(bias: bool) -> None:
    layer = StoredLinear.of(torch.nn.Linear(3, 2, bias=bias, dtype=torch.float64))
    layer.weight.data = layer.weight.data.to(torch.bfloat16)
    layer.weight.requires_grad_(False)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)

    def through(x: Tensor, *own: Tensor) -> Tensor:
        return functional_call(layer, {"bias": own[0]} if own else {}, (x,)).square()

    given = (x, *(one for one in layer.parameters() if one.requires_grad))
    assert torch.autograd.gradcheck(through, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(through, given, check_fwd_over_rev=True)


def test_a_pass_keeps_the_narrow_weight() -> None:
    layer = StoredLinear.of(torch.nn.Linear(64, 64))
    layer.weight.data = layer.weight.data.to(torch.bfloat16)
    layer.weight.requires_grad_(False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        out = layer(torch.randn(2, 64, requires_grad=True))
    assert out.dtype == torch.float32 and [one.data_ptr() for one in kept] == [layer.weight.data_ptr()]
