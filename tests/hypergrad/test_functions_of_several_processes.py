"""Custom functions in a loss that two processes compute together: one verdict, in both of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from several_processes import together
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator
from dreamprm.models.shares import Share
from dreamprm.training.processes import ALONE, Processes


class Followed(torch.autograd.Function):
    """tanh whose backward pass autograd can follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2)


class Opaque(Followed):
    """The same with a kernel's backward pass."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2)


class SavesItsSlope(Followed):
    """The same with a derivative that was saved as a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = 1 - torch.tanh(x) ** 2
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * ctx.slope


def window(processes: Processes, kind: type[Followed], rows: tuple[int, ...]) -> Any:
    """alpha's gradient, or the refusal, of a loss that uses the function on these of its six rows."""
    make = torch.Generator().manual_seed(0)
    x, y, w = (torch.randn(*shape, generator=make, dtype=torch.float64) for shape in ((6, 3), (6,), (3,)))
    own = list(processes.share.rows(6))

    def losses(params: Any, batch: Any) -> Tensor:
        whole = processes.copied(params) if processes.several else params
        made = [kind.apply(x[i] @ whole["w"]) if i in rows else (x[i] @ whole["w"]).sin() for i in own]
        found = torch.zeros(6, dtype=torch.float64).index_copy(0, torch.tensor(own), torch.stack(made))
        return ((processes.summed(found) if processes.several else found) - y).square()

    problem = BilevelProblem(
        outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
        inner_losses=losses,
        weights=lambda alpha, batch, each: alpha["a"].exp(),
        together=processes if processes.several else None,
    )
    params, alpha = {"w": w}, {"a": torch.zeros(6, dtype=torch.float64)}
    optimizer = AdamW(lr=1e-2)
    try:
        found = build_estimator("unrolled").run_window(
            problem, optimizer, params, optimizer.init(params), alpha, inner_batches=[0, 1], outer_batch=0
        )
    except NotImplementedError as error:
        return str(error)
    return found.alpha_grad["a"].numpy()


def cases(processes: Processes | None = None) -> list[Any]:
    """Each kind everywhere, and in the first process's rows alone."""
    import torch.distributed as dist

    if processes is None:
        dist.init_process_group("gloo")
        processes = Processes(Share(dist.get_rank(), dist.get_world_size()))
    found = [
        window(processes, kind, rows)
        for kind in (Followed, Opaque, SavesItsSlope)
        for rows in (tuple(range(6)), (0, 1))
    ]
    if processes.several:
        dist.destroy_process_group()
    return found


def test_all_processes_come_to_the_verdict_of_one() -> None:
    alone = cases(ALONE)
    for found in together(cases):
        everywhere, first_alone = found[::2], found[1::2]
        assert everywhere[0] == pytest.approx(alone[0], rel=1e-12)
        for refusal, expected in zip(everywhere[1:], alone[2::2], strict=True):
            assert isinstance(expected, str) and refusal.split(":")[0] == expected.split(":")[0]
        assert all("through different functions" in refusal for refusal in first_alone)
