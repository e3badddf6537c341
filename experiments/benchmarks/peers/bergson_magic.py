"""bergson's MAGIC: exact metagradients, by replaying TorchOpt's AdamW steps from checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import Tensor, nn
from torchopt.transform.scale_by_adam import ScaleByAdamState

from experiments.benchmarks.workload import ROWS, Workload, in_micro_batches


class _RowLoss(nn.Module):
    """The inner loss of rows with a weight each, as bergson's trainer wants it: keywords in, a scalar out."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.problem = workload.problem
        self.names = list(workload.params)
        # in a list: names of modules take no dots
        self.tensors = nn.ParameterList([tensor.clone() for tensor in workload.params.values()])

    def forward(self, example_weight: Tensor, shift_loss_mask: Tensor, **rows: Tensor) -> Tensor:
        """mean_r weight_r * (mean over the steps of row r); the same as the mean over domains, which have
        equally many rows, of equally many steps."""
        del shift_loss_mask  # counts the steps, for the shares of micro-batches
        params = dict(zip(self.names, self.tensors))
        step_rows = torch.arange(len(example_weight)).repeat_interleave(rows["step_cols"].shape[1])  # (S,)
        inputs = {name: rows[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
        inputs |= {
            "position_ids": rows["position_ids"].transpose(0, 1),
            "step_rows": step_rows.to(example_weight.device),
            "step_cols": rows["step_cols"].reshape(-1),
        }
        losses = self.problem.inner_losses(
            params,
            {
                "inputs": inputs,
                "labels": rows["labels"].reshape(-1),
                "group": inputs["step_rows"],
                "domains": example_weight,  # of which only the number is read
            },
        )
        return (example_weight * losses).mean()


def _rows(batch: dict[str, Any], weights: Tensor) -> dict[str, Tensor]:
    """A workload's batch with everything by row, so that micro-batches are slices of every tensor."""
    inputs, labels = batch["inputs"], batch["labels"].reshape(ROWS, -1)
    return {
        **{name: inputs[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")},
        "position_ids": inputs["position_ids"].transpose(0, 1),
        "step_cols": inputs["step_cols"].reshape(ROWS, -1),
        "labels": labels,
        "shift_loss_mask": torch.ones_like(labels, dtype=torch.bool),
        "example_weight": weights,
    }


def prepare(workload: Workload, *, micro_batches: int = 1) -> Callable[[], dict[str, Tensor]]:
    """The window by `Trainer.train` and `Trainer.backward`, with the settings of bergson's own command.

    These are checkpoints on disk at sqrt(T) steps, in a temporary folder, and updates in place. bergson
    differentiates in one weight per row; those follow from alpha here, and so does alpha's gradient from
    theirs. `eps_root` is the smallest normal number, as for TorchOpt.

    Raises:
        ImportError: bergson, or one of the packages that it imports, is not installed.
    """
    from bergson.magic import BackwardState, DataStream, Trainer

    class Stream(DataStream):  # type: ignore[misc,valid-type]
        def __getitem__(self, i: int) -> dict[str, Tensor]:
            return _rows(workload.inner_batches[i], self.weights[self.batch_rows(i)])

    problem, optimizer = workload.problem, workload.optimizer
    if micro_batches > 1:
        problem = in_micro_batches(problem, micro_batches)
    start, names = workload.state, list(workload.params)
    device = workload.params[names[0]].device
    transform = torchopt.adamw(
        lr=optimizer.learning_rate(start.step),
        betas=optimizer.betas,
        eps=optimizer.eps,
        eps_root=torch.finfo(workload.params[names[0]].dtype).tiny,
        weight_decay=optimizer.decay(names[0]),
    )
    trainer, begin = Trainer.initialize(_RowLoss(workload), transform)
    keys = dict(zip(begin.params, names, strict=True))
    in_order = [keys[key] for key in sorted(keys)]  # of TorchOpt's pytrees
    moments = ScaleByAdamState(
        mu=[start.exp_avg[name].clone() for name in in_order],
        nu=[start.exp_avg_sq[name].clone() for name in in_order],
        count=[torch.tensor(start.step, device=device) for _ in keys],
    )
    begin.opt_state = tuple(
        moments if isinstance(part, ScaleByAdamState) else part for part in begin.opt_state
    )

    def row_weights(alpha: dict[str, Tensor]) -> Tensor:
        each = []
        for batch in workload.inner_batches:
            none = torch.zeros(
                len(batch["domains"]), dtype=begin.params[next(iter(keys))].dtype, device=device
            )
            group = batch["group"].reshape(ROWS, -1)[:, 0]  # (rows,) all steps of a row are of one domain
            each.append(problem.weights(alpha, batch, none)[group])
        return torch.cat(each)

    def outer_gradient(state: Any) -> dict[str, Tensor]:
        leaves = {key: p.detach().requires_grad_() for key, p in state.params.items()}
        total: list[Tensor] | None = None
        for part in problem.outer_parts(workload.outer_batch):
            loss = problem.outer_loss(dict(zip(names, leaves.values())), workload.alpha, part.batch)
            grads = torch.autograd.grad(
                loss if part.share is None else loss * part.share,
                list(leaves.values()),
                materialize_grads=True,
            )
            total = list(grads) if total is None else [a.add_(b) for a, b in zip(total, grads)]
        return dict(zip(leaves, total or []))

    def run() -> dict[str, Tensor]:
        alpha = {name: a.detach().requires_grad_() for name, a in workload.alpha.items()}
        weights = row_weights(alpha)
        data = Stream(range(weights.numel()), ROWS, device=device)
        data.weights = nn.Parameter(weights.detach())
        how = {"inplace": True, "save_mode": "sqrt", "grad_accum_steps": micro_batches}
        with tempfile.TemporaryDirectory() as folder:
            end = trainer.train(begin, data, save_dir=folder, **how)
            wanted = BackwardState(
                outer_gradient(end),
                [torch.zeros_like(one) for one in end.differentiable_tensors()[len(keys) :]],
                torch.zeros_like(data.weights),
            )
            found = trainer.backward(folder, data, wanted, end, **how)
        return dict(zip(alpha, torch.autograd.grad(weights, list(alpha.values()), found.weight_grads)))

    return run
