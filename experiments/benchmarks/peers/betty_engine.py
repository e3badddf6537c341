"""Betty's engine: T steps of torch's AdamW, then one of its implicit gradients for alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.workload import Workload


class RebuildableAdamW(torch.optim.AdamW):
    """The shim that Betty needs on current torch.

    Betty makes its optimizers anew as `type(optimizer)(params, **optimizer.defaults)`; since torch 2.7 the
    defaults of AdamW hold `decoupled_weight_decay`, which AdamW's own constructor does not take.
    """

    def __init__(self, params: Any, *, decoupled_weight_decay: bool = True, **settings: Any) -> None:
        assert decoupled_weight_decay, "AdamW decouples its weight decay"
        super().__init__(params, **settings)


class _Tensors(nn.Module):
    """Tensors by name as a module: Betty's levels hold modules, and module names take no dots."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.names = list(tensors)
        self.tensors = nn.ParameterList([tensor.clone() for tensor in tensors.values()])

    def by_name(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.tensors))


def prepare(workload: Workload, *, method: str) -> Callable[[], dict[str, Tensor]]:
    """An engine with two levels, AdamW warm, all of it made before the window runs.

    The settings of the method are Betty's defaults: one term of the Neumann series, one iteration of CG,
    perturbations 0.01 (darts) and 1.0 (sama).

    Raises:
        ImportError: Betty is not installed.
    """
    from betty.configs import Config, EngineConfig
    from betty.engine import Engine
    from betty.hypergradient import jvp_fn_mapping
    from betty.problems import ImplicitProblem

    if method not in jvp_fn_mapping:
        raise ImportError(f"the installed Betty has no {method!r}; sama came with 0.2")
    optimizer, found = workload.optimizer, {}

    class Inner(ImplicitProblem):  # type: ignore[misc,valid-type]
        batches: Iterator[Any]

        def training_step(self, batch: Any) -> Tensor:
            return workload.problem.inner_loss(self.module.by_name(), self.outer.module.by_name(), batch)

        def get_batch(self) -> Any:
            return next(self.batches)

    class Outer(ImplicitProblem):  # type: ignore[misc,valid-type]
        def training_step(self, batch: Any) -> Tensor:
            return workload.problem.outer_loss(self.inner.module.by_name(), self.module.by_name(), batch)

        def get_batch(self) -> Any:
            return workload.outer_batch

        def custom_optimizer_step(self) -> None:
            found.update({name: p.grad.clone() for name, p in self.module.by_name().items()})

    phi, alpha = _Tensors(workload.params), _Tensors(workload.alpha)
    no_loader = [()]  # Betty wants one; batches come from get_batch
    inner = Inner(
        name="inner",
        module=phi,
        train_data_loader=no_loader,
        optimizer=RebuildableAdamW(
            phi.parameters(),
            lr=optimizer.learning_rate(workload.state.step),
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.decay(phi.names[0]),
        ),
        config=Config(type=method, unroll_steps=len(workload.inner_batches), first_order=True),
    )
    outer = Outer(
        name="outer",
        module=alpha,
        train_data_loader=no_loader,
        optimizer=torch.optim.SGD(alpha.parameters(), lr=0.0),
        config=Config(first_order=True),
    )
    inner.batches = iter(workload.inner_batches)
    steps = len(workload.inner_batches)
    engine = Engine(
        problems=[outer, inner],
        config=EngineConfig(train_iters=steps, valid_step=steps + 1),
        dependencies={"u2l": {outer: [inner]}, "l2u": {inner: [outer]}},
    )
    # after the engine has made the optimizer anew, which would have lost these
    for name, p in inner.module.by_name().items():
        inner.optimizer.state[p] = {
            "step": torch.tensor(float(workload.state.step)),
            "exp_avg": workload.state.exp_avg[name].clone(),
            "exp_avg_sq": workload.state.exp_avg_sq[name].clone(),
        }

    def run() -> dict[str, Tensor]:
        engine.run()
        return found

    return run
