"""A window's T optimizer steps at fixed alpha, as plain training takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.base import WindowTask
from dreamprm.hypergrad.differences import graph_rounding
from dreamprm.hypergrad.gradients import gradients, leaves, require_graph
from dreamprm.hypergrad.inner_optimizer import OptimizerState
from dreamprm.hypergrad.trajectory import Point
from dreamprm.hypergrad.window_passes import inner_gradient


@dataclass
class PlainSteps:
    """What T steps leave behind; every tensor is detached."""

    params: dict[str, Tensor]
    """phi_T."""
    state: OptimizerState
    losses: Tensor
    """(T,) the inner loss before each step."""
    before: Point | None
    """phi_{T-1} and the state there, from which the last step started; None unless asked for."""
    grads: dict[str, Tensor] | None
    """g_{T-1} of the last step, before its clipping; None unless asked for."""
    forward: int
    """Forward passes that were taken."""
    rounding: float | None = None
    """Of the narrowest dtype in which the last loss was computed; None unless asked for."""


def plain_steps(
    task: WindowTask, *, keep_before: bool = False, keep_grads: bool = False, with_rounding: bool = False
) -> PlainSteps:
    """Take the steps, in place wherever the tensors may be overwritten.

    Of the last step, `keep_before` keeps where it started (one more copy of the params and moments in
    memory) and `keep_grads` the gradient; `with_rounding` looks through its graph for the narrowest dtype.
    """
    params, state, losses, forward = task.params, task.state, [], 0
    before = last_grads = rounding = None
    for t, batch in enumerate(task.inner_batches):
        last = t + 1 == len(task.inner_batches)
        if len(task.problem.parts(batch)) > 1:
            inner = inner_gradient(task, params, batch=batch, with_rounding=last and with_rounding)
            rounding = inner.rounding
            loss, grads, passes = inner.loss, inner.all_grads(), inner.forward
            del inner
        else:
            variables = leaves(params)
            loss = require_graph(task.problem.inner_loss(variables, task.alpha, batch), name="inner_loss")
            grads, passes = gradients(loss, variables), 1
            rounding = graph_rounding(loss) if last and with_rounding else None
        forward += passes
        if last and keep_before:
            before = Point(params, state)
        if last and keep_grads:
            last_grads = grads
        # after the first step the tensors are ours to overwrite
        params, state = task.optimizer.step(
            params, grads, state=state, inplace=(task.donate or t > 0) and before is None
        )
        losses.append(loss.detach())
        del loss, grads  # not in memory during the next step
    return PlainSteps(params, state, torch.stack(losses), before, last_grads, forward, rounding)
