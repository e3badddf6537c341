"""Losses that compute activations again: right where the params go in again, refused where they do not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from dreamprm.hypergrad import AdamW, BilevelProblem, WindowResult, build_estimator

Params = dict[str, Tensor]


class Net(nn.Module):
    """Two layers, the first behind a checkpoint if asked for."""

    def __init__(self, *, checkpointed: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 1)
        self.checkpointed = checkpointed

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x)) ** 2

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.hidden, x, use_reentrant=False) if self.checkpointed else self.hidden(x)
        return self.second(hidden)[:, 0]


def window(
    loss: Callable[[Params, Tensor], Tensor], name: str = "first_order", **settings: str
) -> WindowResult:
    generator = torch.Generator().manual_seed(0)
    params = {
        key: torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for key, p in Net(checkpointed=False).named_parameters()
    }
    optimizer = AdamW(lr=1e-2, eps=1e-2)
    return build_estimator(name).run_window(
        BilevelProblem(
            inner_losses=lambda params, x: loss(params, x).square(),
            weights=lambda alpha, x, losses: alpha["raw"].exp(),
            outer_loss=lambda params, alpha, x: (loss(params, x) - 1).square().mean(),
        ),
        optimizer,
        params,
        optimizer.init(params),
        {"raw": torch.zeros(3, dtype=torch.float64)},
        inner_batches=[torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2)],
        outer_batch=torch.randn(3, 4, generator=generator, dtype=torch.float64),
    )


def net(*, checkpointed: bool) -> Net:
    torch.manual_seed(1)
    return Net(checkpointed=checkpointed).double()


@pytest.mark.parametrize("name", ["first_order", "adjoint", "unrolled", "none"])
def test_a_checkpoint_inside_of_functional_call_is_refused(name: str) -> None:
    module = net(checkpointed=True)
    with pytest.raises(ValueError, match="with a module's own parameters.*functional_call inside of torch"):
        window(lambda params, x: functional_call(module, params, (x,)), name)


@pytest.mark.parametrize("name", ["first_order", "adjoint", "unrolled", "none"])
def test_a_checkpoint_around_functional_call_is_right(name: str) -> None:
    module = net(checkpointed=False)

    def run(x: Tensor, *tensors: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, tensors, strict=True)), (x,))

    names = [key for key, _ in module.named_parameters()]
    want = window(lambda params, x: functional_call(module, params, (x,)), name)
    got = window(lambda params, x: checkpoint(run, x, *params.values(), use_reentrant=False), name)
    assert torch.equal(got.alpha_grad["raw"], want.alpha_grad["raw"])
    assert all(torch.equal(got.params[key], want.params[key]) for key in names)


def test_parameters_of_a_frozen_part_may_be_read_again() -> None:
    frozen = nn.Linear(4, 4).double().requires_grad_(False)
    module = net(checkpointed=False)

    def whole(params: Params, x: Tensor) -> Tensor:
        return functional_call(module, params, (torch.tanh(frozen(x)),))

    want = window(whole)
    got = window(lambda params, x: checkpoint(whole, params, x, use_reentrant=False))
    assert torch.equal(got.alpha_grad["raw"], want.alpha_grad["raw"])
