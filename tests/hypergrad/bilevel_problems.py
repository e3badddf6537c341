"""Small float64 bilevel problems: one row each in the tests' tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad import AdamW, BilevelProblem, InnerOptimizer, OptimizerState, WindowResult

Tensors = dict[str, Tensor]
# Enough for windows of twenty steps.
BATCHES = 20


@dataclass
class Case:
    """A problem with everything `run_window` needs; the state is warm unless warm_steps=0 says otherwise."""

    problem: BilevelProblem
    params: Tensors
    alpha: Tensors
    batches: list[Any]
    outer_batch: Any
    optimizer: InnerOptimizer = field(default_factory=lambda: AdamW(lr=1e-2))
    state: OptimizerState | None = None
    warm_steps: int = 3

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = self.optimizer.init(self.params)
            for batch in self.batches[: self.warm_steps]:
                phi = {name: p.clone().requires_grad_() for name, p in self.params.items()}
                loss = self.problem.inner_loss(phi, self.alpha, batch)
                grads = torch.autograd.grad(loss, list(phi.values()), materialize_grads=True)
                self.params, self.state = self.optimizer.step(phi, dict(zip(phi, grads)), state=self.state)

    def run(
        self, estimator: Any, *, steps: int = 5, alpha: Tensors | None = None, **options: Any
    ) -> WindowResult:
        return estimator.run_window(
            self.problem,
            self.optimizer,
            self.params,
            self.state,
            self.alpha if alpha is None else alpha,
            inner_batches=self.batches[:steps],
            outer_batch=self.outer_batch,
            **options,
        )


def _data(seed: int, *, rows: int = 60, width: int = 4) -> tuple[Tensor, Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    y = torch.sin(x.sum(1)) + 0.3 * torch.randn(rows, generator=generator, dtype=torch.float64)
    return x, y, generator


def _rows(t: int) -> Tensor:
    """Eight rows of the first 48; the outer batches take the others."""
    return torch.arange(8 * t, 8 * t + 8) % 48


def _mlp(params: Tensors, x: Tensor) -> Tensor:
    return torch.tanh(x @ params["w1"] + params["b1"]) @ params["w2"]


def _mlp_params(generator: torch.Generator, *, width: int = 4) -> Tensors:
    def draw(*shape: int) -> Tensor:
        return 0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"w1": draw(width, 5), "b1": draw(5), "w2": draw(5), "unused": draw(3)}


def logistic(**options: Any) -> Case:
    """Plain form; alpha (a log penalty and label offsets) enters the inner loss non-linearly."""
    x, y, generator = _data(1)
    labels = (y > 0).double()

    def inner(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        logits = x[rows] @ params["w"] + alpha["offset"].tanh().mean()
        fit = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[rows])
        return fit + alpha["penalty"].exp() * params["w"].square().sum()

    def outer(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(x[rows] @ params["w"], labels[rows])

    return Case(
        BilevelProblem(inner, outer),
        params={"w": torch.randn(4, generator=generator, dtype=torch.float64)},
        alpha={
            "penalty": torch.tensor(-2.0, dtype=torch.float64),
            "offset": torch.tensor([0.3, -0.4], dtype=torch.float64),
        },
        batches=[_rows(t) for t in range(BATCHES)],
        outer_batch=torch.arange(48, 60),
        **options,
    )


def mlp_plain(**options: Any) -> Case:
    """Plain form, an MLP; alpha enters the outer loss directly too, and one entry nowhere."""
    x, y, generator = _data(2)

    def inner(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        errors = (_mlp(params, x[rows]) - y[rows]).square().reshape(2, -1).mean(1)
        weighted = torch.nn.functional.softplus(alpha["raw"]) * errors
        return weighted.sum() + alpha["raw"].prod() * errors.prod()

    def outer(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        return (_mlp(params, x[rows]) - y[rows]).square().mean() * (1 + alpha["raw"].square().mean())

    return Case(
        BilevelProblem(inner, outer),
        params=_mlp_params(generator),
        alpha={
            "raw": torch.tensor([0.4, -0.7], dtype=torch.float64),
            "idle": torch.ones(2, dtype=torch.float64),
        },
        batches=[_rows(t) for t in range(BATCHES)],
        outer_batch=torch.arange(48, 60),
        **options,
    )


def _domain_losses(x: Tensor, y: Tensor) -> Callable[[Tensors, Any], Tensor]:
    def losses(params: Tensors, batch: dict[str, Tensor]) -> Tensor:
        errors = (_mlp(params, x[batch["rows"]]) - y[batch["rows"]]).square()
        return errors.mean(1)

    return losses


def _domain_weights(alpha: Tensors, batch: dict[str, Tensor], losses: Tensor) -> Tensor:
    positive = torch.nn.functional.softplus(alpha["raw"])
    return (positive / positive.mean())[batch["domains"]]


def _domain_batches(per_batch: int) -> list[dict[str, Tensor]]:
    return [
        {"rows": _rows(t).reshape(per_batch, -1), "domains": (torch.arange(per_batch) + t) % 3}
        for t in range(BATCHES)
    ]


def _structured(seed: int, *, per_batch: int, unweighted: bool, **options: Any) -> Case:
    x, y, generator = _data(seed)
    losses = _domain_losses(x, y)

    def outer(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        return (_mlp(params, x[rows]) - y[rows]).square().mean()

    def rest(params: Tensors, batch: dict[str, Tensor]) -> Tensor:
        return 0.1 * _mlp(params, x[batch["rows"][:, :2].flatten()] + 1).square().mean()

    return Case(
        BilevelProblem(
            outer_loss=outer,
            inner_losses=losses,
            weights=_domain_weights,
            unweighted_loss=rest if unweighted else None,
        ),
        params=_mlp_params(generator),
        alpha={"raw": torch.tensor([0.4, -0.7, 0.1], dtype=torch.float64)},
        batches=_domain_batches(per_batch),
        outer_batch=torch.arange(48, 60),
        **options,
    )


def domains_mixed(**options: Any) -> Case:
    """Structured form, two domains in each batch."""
    return _structured(3, per_batch=2, unweighted=False, **options)


def domains_mixed_with_rest(**options: Any) -> Case:
    """Structured form, two domains in each batch and a term that alpha does not touch."""
    return _structured(4, per_batch=2, unweighted=True, **options)


def domain_single(**options: Any) -> Case:
    """Structured form, one domain in each batch."""
    return _structured(5, per_batch=1, unweighted=False, **options)


def domain_single_with_rest(**options: Any) -> Case:
    """Structured form, one domain in each batch and a term that alpha does not touch."""
    return _structured(6, per_batch=1, unweighted=True, **options)


def domains_varying(**options: Any) -> Case:
    """Structured form, batches of one domain and of two in turn."""
    case = _structured(7, per_batch=2, unweighted=False, **options)
    for batch in case.batches[::2]:
        batch["rows"], batch["domains"] = batch["rows"][:1], batch["domains"][:1]
    return case


def ridge(**options: Any) -> Case:
    """Plain form; a log penalty for each feature, nothing but squares."""
    x, y, generator = _data(9)

    def inner(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        errors = (x[rows] @ params["w"] - y[rows]).square().mean()
        return errors + (alpha["penalty"].exp() * params["w"].square()).sum()

    return Case(
        BilevelProblem(inner, lambda params, alpha, rows: (x[rows] @ params["w"] - y[rows]).square().mean()),
        params={"w": torch.randn(4, generator=generator, dtype=torch.float64)},
        alpha={"penalty": torch.tensor([-2.0, -1.0, 0.0, -3.0], dtype=torch.float64)},
        batches=[_rows(t) for t in range(BATCHES)],
        outer_batch=torch.arange(48, 60),
        **options,
    )


def tied(**options: Any) -> Case:
    """Structured form; one tensor under one name is the input embedding and the output matrix."""
    generator = torch.Generator().manual_seed(10)

    def losses(params: Tensors, tokens: Tensor) -> Tensor:
        states = torch.tanh(params["table"][tokens[:, :-1]])  # (2, 4, 3)
        logits = states @ params["table"].T  # (2, 4, 7)
        return torch.stack(
            [
                torch.nn.functional.cross_entropy(row, next_tokens)
                for row, next_tokens in zip(logits, tokens[:, 1:])
            ]
        )

    return Case(
        BilevelProblem(
            outer_loss=lambda params, alpha, tokens: losses(params, tokens).mean(),
            inner_losses=losses,
            weights=lambda alpha, batch, losses: alpha["raw"].exp(),
        ),
        params={"table": torch.randn(7, 3, generator=generator, dtype=torch.float64)},
        alpha={"raw": torch.tensor([0.2, -0.3], dtype=torch.float64)},
        batches=[torch.randint(7, (2, 5), generator=generator) for _ in range(BATCHES)],
        outer_batch=torch.randint(7, (2, 5), generator=generator),
        **options,
    )


def frozen(**options: Any) -> Case:
    """Structured form; the first layer is no param, and the flag that asks for its gradient is set."""
    x, y, generator = _data(11)
    drawn = _mlp_params(generator)
    held = {name: drawn[name].requires_grad_() for name in ("w1", "b1")}

    def losses(params: Tensors, batch: dict[str, Tensor]) -> Tensor:
        return _domain_losses(x, y)({**held, **params}, batch)

    return Case(
        BilevelProblem(
            outer_loss=lambda params, alpha, rows: losses(params, {"rows": rows.reshape(1, -1)}).mean(),
            inner_losses=losses,
            weights=_domain_weights,
        ),
        params={"w2": drawn["w2"]},
        alpha={"raw": torch.tensor([0.4, -0.7, 0.1], dtype=torch.float64)},
        batches=_domain_batches(2),
        outer_batch=torch.arange(48, 60),
        **options,
    )


def sample_net(**options: Any) -> Case:
    """Structured form; alpha is a small network from a sample's own loss to its weight, direct in the outer
    loss too."""
    x, y, generator = _data(12)

    def losses(params: Tensors, rows: Tensor) -> Tensor:
        return (_mlp(params, x[rows]) - y[rows]).square()

    def weights(alpha: Tensors, rows: Tensor, losses: Tensor) -> Tensor:
        return (torch.tanh(losses[:, None] * alpha["in"] + alpha["bias"]) @ alpha["out"]).sigmoid()

    def outer(params: Tensors, alpha: Tensors, rows: Tensor) -> Tensor:
        return losses(params, rows).mean() + 0.1 * alpha["out"].square().sum()

    return Case(
        BilevelProblem(outer_loss=outer, inner_losses=losses, weights=weights),
        params=_mlp_params(generator),
        alpha={
            name: torch.randn(3, generator=generator, dtype=torch.float64) for name in ("in", "bias", "out")
        },
        batches=[_rows(t) for t in range(BATCHES)],
        outer_batch=torch.arange(48, 60),
        **options,
    )


PROBLEMS: dict[str, Callable[..., Case]] = {
    factory.__name__: factory
    for factory in (
        logistic,
        mlp_plain,
        domains_mixed,
        domains_mixed_with_rest,
        domain_single,
        domain_single_with_rest,
        domains_varying,
        ridge,
        tied,
        frozen,
        sample_net,
    )
}


def unused_rows(*, dtype: torch.dtype = torch.float64) -> Case:
    """Structured form with an embedding of which rows 5.. are in no inner batch; the outer batch uses row 6.

    The state is cold, so the second moments of unused rows are exactly 0.
    """
    generator = torch.Generator().manual_seed(8)
    params = {
        "table": torch.randn(8, 3, generator=generator, dtype=torch.float64).to(dtype),
        "w": torch.randn(3, generator=generator, dtype=torch.float64).to(dtype),
    }

    def losses(params: Tensors, tokens: Tensor) -> Tensor:
        return (torch.tanh(params["table"][tokens]) @ params["w"] - 0.3).square().mean(1)

    optimizer = AdamW(lr=1e-2)
    return Case(
        BilevelProblem(
            outer_loss=lambda params, alpha, tokens: losses(params, tokens).mean(),
            inner_losses=losses,
            weights=lambda alpha, batch, losses: alpha["raw"].exp(),
        ),
        params=params,
        alpha={"raw": torch.tensor([0.2, -0.3], dtype=dtype)},
        batches=[torch.tensor([[t % 5, (t + 1) % 5], [(t + 2) % 5, 3]]) for t in range(BATCHES)],
        outer_batch=torch.tensor([[0, 6], [2, 6]]),
        optimizer=optimizer,
        state=optimizer.init(params),
    )


def fused_attention() -> Case:
    """Structured form, two losses a batch by an attention kernel that has no second derivative; float32."""

    def attend(params: Tensors, batch: Tensor) -> Tensor:
        states = (params["w"] * batch).reshape(2, 1, 2, 4)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return (
                torch.nn.functional.scaled_dot_product_attention(states, states, states)
                .square()
                .mean((1, 2, 3))
            )

    generator = torch.Generator().manual_seed(13)
    return Case(
        BilevelProblem(
            outer_loss=lambda params, alpha, batch: attend(params, batch).mean(),
            inner_losses=attend,
            weights=lambda alpha, batch, losses: alpha["raw"].exp(),
        ),
        params={"w": torch.randn(16, generator=generator)},
        alpha={"raw": torch.tensor([0.2, -0.3])},
        batches=[torch.randn(16, generator=generator) for _ in range(BATCHES)],
        outer_batch=torch.randn(16, generator=generator),
    )
