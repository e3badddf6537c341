"""From a `torch.optim` object to an inner optimizer with its state, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.adam import Adam
from dreamprm.hypergrad.adamw import AdamW
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.muon import Muon
from dreamprm.hypergrad.sgd import SGD

_KNOWN = "Adam, AdamW, SGD and Muon of torch.optim"


def from_torch(
    optimizer: torch.optim.Optimizer,
    params: Mapping[str, Tensor],
    *,
    step: int | None = None,
    max_grad_norm: float | None = None,
) -> tuple[InnerOptimizer, OptimizerState]:
    """The inner optimizer with the settings of a `torch.optim` object, and its state.

    Training goes on where the object left it. Groups may differ in their weight decay, which becomes a
    callable of the parameter's name. Moments are shared with the object's, not copied: a window with
    donate=True writes into them. Parameters that it has not stepped yet have moments of zero.

    Args:
        optimizer: `torch.optim.AdamW`, `Adam`, `SGD` or `Muon`.
        params: its parameters by name, as `dict(model.named_parameters())`: the very tensors, all of them.
        step: the number of steps taken so far; SGD and Muon keep no count, and need it where the learning
            rate is a schedule of your own. None: as counted, else 1 where there are momenta and 0 where none.
        max_grad_norm: the bound that your loop clips gradients to, if it does.

    Raises:
        ValueError: another class; parameters under no name, or names of other tensors; a setting that has no
            counterpart here (maximize; tensors as lr; groups that differ in another setting than the weight
            decay); or parameters that were stepped different numbers of times.
    """
    names = _names(optimizer, params)
    groups = [{**group, "names": [names[id(p)] for p in group["params"]]} for group in optimizer.param_groups]
    made = _optimizer(optimizer, groups, max_grad_norm=max_grad_norm)
    moments: dict[str, dict[str, Tensor]] = {}
    counts = set()
    for name, p in params.items():
        held = optimizer.state.get(p, {})
        counts.add(int(held["step"]) if "step" in held else None)
        for kind in made.kinds_of(name, p):
            stored = held.get(kind)
            moments.setdefault(kind, {})[name] = torch.zeros_like(p.detach()) if stored is None else stored
    return made, made.make_state(_count(optimizer, counts, moments, made, given=step), moments)


def to_torch(
    optimizer: torch.optim.Optimizer,
    params: Mapping[str, Tensor],
    *,
    state: OptimizerState,
    values: Mapping[str, Tensor] | None = None,
) -> None:
    """Give a state, and the params of a window, back to a `torch.optim` object and its parameters.

    Args:
        optimizer: of the class that the state came from; its moments and step counts are replaced by copies.
        params: its parameters by name, the very tensors.
        state: `window.state`.
        values: `window.params`, copied into the parameters in place; None leaves them.

    Raises:
        ValueError: parameters under no name, or names of other tensors; or a state of another kind.
    """
    _names(optimizer, params)
    kinds = set(_kinds(optimizer))
    surplus = {kind for kind, moments in state.moments.items() if moments} - kinds
    if surplus:
        raise ValueError(
            f"the state has the moments {', '.join(sorted(state.moments))}, but torch.optim."
            f"{type(optimizer).__name__} keeps {', '.join(sorted(kinds)) or 'none'}"
        )
    for name, p in params.items():
        held: dict[str, Any] = {
            kind: moments[name].detach().clone() for kind, moments in state.moments.items() if name in moments
        }
        if isinstance(optimizer, torch.optim.Adam):  # AdamW is one
            held["step"] = torch.tensor(float(state.step))
        optimizer.state[p] = held
        if values is not None:
            with torch.no_grad():
                p.copy_(values[name])


def _names(optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor]) -> dict[int, str]:
    """Names by the identity of the tensors, which must be those of the optimizer."""
    names = {id(p): name for name, p in params.items()}
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if stepped != names.keys():
        raise ValueError(
            f"params must name the very tensors that the optimizer steps, all of them: {len(stepped)} are in "
            f"its groups, {len(names)} were given and {len(stepped & names.keys())} are the same; pass those "
            "of dict(model.named_parameters()) that it was made with"
        )
    return names


def _optimizer(
    optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]], *, max_grad_norm: float | None
) -> InnerOptimizer:
    kind = type(optimizer)
    common: dict[str, Any] = {
        "lr": _shared(groups, "lr"),
        "weight_decay": _decay(groups),
        "max_grad_norm": max_grad_norm,
    }
    if any(group.get("maximize") for group in groups):
        raise ValueError("maximize=True has no counterpart: negate the inner loss")
    if kind in (torch.optim.AdamW, torch.optim.Adam):
        common["betas"] = tuple(float(beta) for beta in _shared(groups, "betas"))
        common["eps"] = _shared(groups, "eps")
        amsgrad = _shared(groups, "amsgrad")
        # AdamW is an Adam whose decay is decoupled
        if not _shared(groups, "decoupled_weight_decay"):
            return Adam(amsgrad=amsgrad, **common)
        if amsgrad:
            raise ValueError(
                "AdamW with amsgrad=True has no counterpart: Adam has amsgrad, with an L2 penalty"
            )
        return AdamW(**common)
    if kind is torch.optim.SGD:
        return SGD(**common, **{key: _shared(groups, key) for key in ("momentum", "dampening", "nesterov")})
    if kind is torch.optim.Muon:
        keys = ("momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")
        # torch iterates in bfloat16
        return Muon(**common, ns_dtype="bfloat16", **{key: _shared(groups, key) for key in keys})
    raise ValueError(f"{kind.__name__} has no counterpart here; known: {_KNOWN}")


def _shared(groups: list[dict[str, Any]], key: str) -> Any:
    """A setting that all groups have in common."""
    values = [group[key] for group in groups]
    if any(isinstance(value, Tensor) for value in values):
        raise ValueError(f"{key} is a tensor: give torch.optim the number, {key}={float(values[0])}")
    if any(value != values[0] for value in values):
        raise ValueError(
            f"the groups differ in {key} ({', '.join(map(str, values))}); one is allowed for all, of the "
            "settings the weight decay alone may differ"
        )
    return values[0]


def _decay(groups: list[dict[str, Any]]) -> float | Callable[[str], float]:
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    tensors = [value for value in decays.values() if isinstance(value, Tensor)]
    if tensors:
        raise ValueError(f"weight_decay is a tensor: give torch.optim the number, {float(tensors[0])}")
    if len(set(decays.values())) == 1:
        return float(next(iter(decays.values())))
    return decays.__getitem__


def _kinds(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Names of the moments that torch's class keeps, which are ours."""
    if isinstance(optimizer, torch.optim.Adam):
        return Adam.kinds if optimizer.param_groups[0]["amsgrad"] else AdamW.kinds
    return ("momentum_buffer",)


def _count(
    optimizer: torch.optim.Optimizer,
    counts: set[int | None],
    moments: Mapping[str, Mapping[str, Tensor]],
    made: InnerOptimizer,
    *,
    given: int | None,
) -> int:
    """Number of steps taken so far."""
    if isinstance(optimizer, torch.optim.Adam):
        taken = counts or {None}
        if len(taken) > 1:
            raise ValueError(
                "the parameters were stepped different numbers of times: "
                f"{', '.join(sorted('never' if c is None else str(c) for c in taken))}; one count is kept "
                "for all, so give every parameter a gradient at each step, or leave those without out"
            )
        (counted,) = taken
        if given is not None and given != (counted or 0):
            raise ValueError(f"step must be that of the optimizer, {counted or 0}, got {given}; leave it out")
        return counted or 0
    held = [
        optimizer.state.get(p, {}).get("momentum_buffer") for g in optimizer.param_groups for p in g["params"]
    ]
    begun = any(buffer is not None for buffer in held)
    dampened = isinstance(made, SGD) and made.dampening != 0.0
    if begun and dampened and any(buffer is None for buffer in held):
        raise ValueError(
            "some parameters have no momentum yet, and dampening counts from their own first step on; give "
            "every parameter a gradient at each step, or leave those without out"
        )
    if given is not None and given < (1 if begun else 0):
        raise ValueError(
            f"step must be >= {1 if begun else 0}, got {given}: the number of steps taken so far"
        )
    return given if given is not None else int(begun)
