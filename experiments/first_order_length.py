"""How far `first_order` is from the exact gradient as the window grows: one line per learning rate.

    python experiments/first_order_length.py

A network of 10-32-3 on noisy labels, weights of four sources, AdamW from warm moments, float64: cosine of
`first_order` and `adjoint` for windows of T steps. Seconds on a laptop's CPU.
"""

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator
from dreamprm.hypergrad.audit import agreement

LENGTHS = (1, 5, 20, 50, 100)


def main() -> dict[float, list[float]]:
    """Cosines by learning rate, one for each of LENGTHS."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    teacher = torch.randn(10, 3)
    model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))
    wrong = torch.tensor([0.0, 0.1, 0.6, 0.8])

    def draw(rows, wrong):
        x = torch.randn(len(wrong), rows, 10)  # (sources, rows, features)
        moved = torch.rand(len(wrong), rows) < wrong[:, None]
        return x, ((x @ teacher).argmax(-1) + moved) % 3

    def losses(params, batch):  # (sources,)
        x, y = batch
        logits = functional_call(model, params, (x,))  # (sources, rows, classes)
        return cross_entropy(logits.movedim(-1, 1), y, reduction="none").mean(1)

    problem = BilevelProblem(
        inner_losses=losses,
        weights=lambda alpha, batch, losses: alpha["raw"].softmax(0) * 4,
        outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
    )
    alpha, meta = {"raw": torch.zeros(4)}, draw(60, torch.zeros(1))
    warm, batches = [draw(8, wrong) for _ in range(10)], [draw(8, wrong) for _ in range(max(LENGTHS))]
    start = {name: p.detach() for name, p in model.named_parameters()}
    table = {}
    for lr in (1e-3, 1e-2, 5e-2):
        optimizer = AdamW(lr=lr)
        window = build_estimator("none").run_window(
            problem, optimizer, start, optimizer.init(start), alpha, inner_batches=warm, outer_batch=meta
        )
        table[lr] = []
        for length in LENGTHS:
            estimate, exact = (
                build_estimator(name).run_window(
                    problem,
                    optimizer,
                    window.params,
                    window.state,
                    alpha,
                    inner_batches=batches[:length],
                    outer_batch=meta,
                )
                for name in ("first_order", "adjoint")
            )
            table[lr].append(agreement(estimate.alpha_grad, exact.alpha_grad)[0])
    return table


if __name__ == "__main__":
    print("lr     " + "".join(f"  T={length:<6}" for length in LENGTHS))
    for lr, cosines in main().items():
        print(f"{lr:<7g}" + "".join(f"  {cosine:<8.4f}" for cosine in cosines))
