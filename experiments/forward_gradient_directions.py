"""How far `forward_gradient` is from the exact gradient with few directions: one line per number of them.

    python experiments/forward_gradient_directions.py

A network of 10-32-3 on noisy labels, weights of 15 sources of which three are clean, AdamW from warm
moments, T = 5, float64. Over 100 draws: root mean square of |estimate - exact| / |exact|, mean cosine, the
stated error sqrt(15 / K - 1), and passes in units of a forward pass.
"""

from __future__ import annotations

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from dreamprm.hypergrad import AdamW, BilevelProblem, WindowResult, build_estimator
from dreamprm.hypergrad.audit import agreement

DIRECTIONS, SOURCES, DRAWS, STEPS = (1, 4, 8, 14, 15), 15, 100, 5


def main(draws: int = DRAWS) -> dict[int, tuple[float, float, int]]:
    """(relative error, cosine, units) by number of directions."""
    random = torch.Generator().manual_seed(0)
    teacher = torch.randn(10, 3, generator=random, dtype=torch.float64)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)).double()
    wrong = torch.where(torch.arange(SOURCES) < 3, 0.0, 0.7)

    def draw(rows: int, wrong: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(
            len(wrong), rows, 10, generator=random, dtype=torch.float64
        )  # (sources, rows, features)
        moved = torch.rand(len(wrong), rows, generator=random) < wrong[:, None]
        return x, ((x @ teacher).argmax(-1) + moved) % 3

    def losses(params, batch):  # (sources,)
        x, y = batch
        logits = functional_call(model, params, (x,))  # (sources, rows, classes)
        return cross_entropy(logits.movedim(-1, 1), y, reduction="none").mean(1)

    problem = BilevelProblem(
        inner_losses=losses,
        weights=lambda alpha, batch, losses: alpha["raw"].softmax(0) * SOURCES,
        outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
    )
    optimizer, alpha = AdamW(lr=1e-3), {"raw": torch.zeros(SOURCES, dtype=torch.float64)}
    start = {name: p.detach() for name, p in model.named_parameters()}
    warm, batches = [draw(8, wrong) for _ in range(10)], [draw(8, wrong) for _ in range(STEPS)]
    meta = draw(60, torch.zeros(1))
    begun = build_estimator("none").run_window(
        problem, optimizer, start, optimizer.init(start), alpha, inner_batches=warm, outer_batch=meta
    )

    def window(name: str, **settings: int) -> WindowResult:
        return build_estimator(name, **settings).run_window(
            problem, optimizer, begun.params, begun.state, alpha, inner_batches=batches, outer_batch=meta
        )

    exact, table = window("adjoint").alpha_grad, {}
    for count in DIRECTIONS:
        squares, cosines, stats = 0.0, 0.0, {}
        for seed in range(draws if count < SOURCES else 1):
            drawn = window("forward_gradient", directions=count, seed=seed)
            off = drawn.alpha_grad["raw"] - exact["raw"]
            squares += float(off.square().sum() / exact["raw"].square().sum())
            cosines += agreement(drawn.alpha_grad, exact)[0]
            stats = drawn.stats
        table[count] = (
            (squares / (seed + 1)) ** 0.5,
            cosines / (seed + 1),
            stats["forward"] + 2 * stats["backward"],
        )
    return table


if __name__ == "__main__":
    print("directions   relative error   stated   cosine   units")
    for count, (error, cosine, units) in main().items():
        stated = (SOURCES / count - 1) ** 0.5
        print(f"{count:10}   {error:14.2g}   {stated:6.2f}   {cosine:6.3f}   {units:5}")
