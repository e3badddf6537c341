"""A bi-level problem of your own: learn how far to trust each source of labels. No PRM, no files, seconds.

    python experiments/own_problem.py [estimator]        one of dreamprm.hypergrad.ESTIMATORS, except `cg`,
                                                         which raises here: the minimiser is far away and H
                                                         is not positive definite

Four sources label points of the same kind; in each, a share of the labels is shifted to the next class. A
classifier is trained on the weighted sources, and the weights on 60 points whose labels are known to be
right. The result is printed next to that of equal weights (`none`).
"""

import sys

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator

WRONG = torch.tensor([0.0, 0.1, 0.6, 0.8])  # share of each source's labels


def main(estimator: str = "adjoint") -> tuple[list[float], float]:
    """Train, and return the weights of the sources and the accuracy on right labels."""
    torch.manual_seed(0)
    teacher = torch.randn(10, 3)
    model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))

    def draw(rows: int, wrong: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(len(wrong), rows, 10)  # (sources, rows, features)
        moved = torch.rand(len(wrong), rows) < wrong[:, None]
        return x, ((x @ teacher).argmax(-1) + moved) % 3

    def losses(params, batch):  # (sources,)
        x, y = batch
        logits = functional_call(model, params, (x,))  # (sources, rows, classes)
        return cross_entropy(logits.movedim(-1, 1), y, reduction="none").mean(1)

    def weights(alpha, batch, losses):  # (sources,)
        return alpha["raw"].softmax(0) * len(WRONG)

    problem = BilevelProblem(
        inner_losses=losses,
        weights=weights,
        outer_loss=lambda params, alpha, batch: losses(params, batch).mean(),
    )

    (x, y), right = draw(150, WRONG), draw(60, torch.zeros(1))
    hypergradient = build_estimator(estimator)
    inner, upper = AdamW(lr=1e-2), AdamW(lr=0.1, weight_decay=0.0)
    params = {name: p.detach() for name, p in model.named_parameters()}
    alpha = {"raw": torch.zeros(len(WRONG))}
    state, upper_state = inner.init(params), upper.init(alpha)
    for _ in range(100):
        batches = [(x[:, rows], y[:, rows]) for rows in torch.randperm(150).chunk(5)]
        window = hypergradient.run_window(
            problem, inner, params, state, alpha, inner_batches=batches, outer_batch=right, on_failure="raise"
        )
        params, state = window.params, window.state
        alpha, upper_state = upper.step(alpha, window.alpha_grad, state=upper_state)

    x, y = draw(5000, torch.zeros(1))
    accuracy = (functional_call(model, params, (x,)).argmax(-1) == y).float().mean().item()
    return weights(alpha, None, None).tolist(), accuracy


if __name__ == "__main__":
    for name in ("none", sys.argv[1] if len(sys.argv) > 1 else "adjoint"):
        weights, accuracy = main(name)
        print(f"{name:12} weights {' '.join(f'{w:.2f}' for w in weights)}   accuracy {accuracy:.1%}")
