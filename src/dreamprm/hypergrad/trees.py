"""Params and alpha in any structure: nested dicts, lists, tuples, dataclasses, or one tensor.

Estimators know tensors by name alone. A dict of tensors is passed through untouched; of anything else the
names are paths ("encoder.layers.0.weight"), and the losses get the structure that was given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import GeneratorType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tensors = Mapping[str, Tensor]
TRAINED_DTYPES = (torch.float64, torch.float32, torch.bfloat16)


class Flat(NamedTuple):
    """A structure as tensors by name."""

    tensors: dict[str, Tensor]
    rebuild: Callable[[Tensors], Any] | None
    """Back to the structure; None where it was a dict of tensors by name already."""

    def like(self, tensors: Tensors) -> Any:
        """These tensors in the structure."""
        return tensors if self.rebuild is None else self.rebuild(tensors)


def flatten(tree: Any, *, kind: str) -> Flat:
    """The tensors of a structure by name.

    Args:
        tree: a dict of tensors, or dicts (with any keys), lists, tuples, named tuples, dataclasses and nodes
            registered with `torch.utils._pytree`, nested in any way, with tensors as leaves; or one tensor,
            whose name is `kind`.
        kind: "params" or "alpha", for messages.

    Raises:
        ValueError: a module, or a generator; or two tensors whose paths are the same.
    """
    _refuse_modules(tree, kind=kind)
    if isinstance(tree, Mapping) and all(isinstance(name, str) for name in tree):
        if not any(_is_node(leaf) for leaf in tree.values()):
            return Flat(dict(tree), None)
    if isinstance(tree, Tensor):
        return Flat({kind: tree}, lambda tensors: tensors[kind])
    found: dict[str, Tensor] = {}
    return Flat(found, _walk(tree, "", found, kind=kind))


def named(tree: Any, *, kind: str) -> dict[str, Tensor]:
    """The tensors alone."""
    return flatten(tree, kind=kind).tensors


def check_tensors(tensors: Mapping[str, Any], *, kind: str) -> None:
    """Refuse what cannot be differentiated or has no values.

    Args:
        tensors: by name.
        kind: "params" or "alpha".

    Raises:
        ValueError: naming the tensor.
    """
    for name, tensor in tensors.items():
        label = f"{kind}[{name!r}]"
        if isinstance(tensor, Tensor) and tensor.is_quantized:
            raise ValueError(
                f"{label} is quantised ({tensor.dtype}), which has no derivative; train a dequantised "
                "copy, or adapters next to quantised weights that are left out of params"
            )
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(
                f"{label} must be a floating-point tensor, got {got}; leave tensors that are not trained out"
            )
        if tensor.layout is not torch.strided:
            raise ValueError(f"{label} must be dense, got {tensor.layout}; use to_dense()")
        if tensor.dtype not in TRAINED_DTYPES and (kind == "params" or tensor.dtype != torch.float16):
            raise ValueError(
                f"{label} is {tensor.dtype}, where squares of gradients and eps=1e-8 round to 0; keep "
                f"{kind} in float32 and run the forward pass under torch.autocast"
            )
    devices = sorted({str(tensor.device) for tensor in tensors.values()})
    if len(devices) > 1:
        raise ValueError(f"{kind} must be on one device, got {', '.join(devices)}; move them to one")
    if devices == ["meta"]:
        raise ValueError(
            f"{kind} are on the meta device and have no values; load them (to_empty and load_state_dict, or "
            "load_state_dict(assign=True)) before the window"
        )


def _walk(tree: Any, path: str, found: dict[str, Tensor], *, kind: str) -> Callable[[Tensors], Any]:
    """Add the leaves below a node; returns what rebuilds the node from leaves by name."""
    _refuse_modules(tree, kind=f"{kind}.{path}" if path else kind)
    if isinstance(tree, Mapping) and type(tree) not in pytree.SUPPORTED_NODES:
        tree = dict(tree)
    if (
        dataclasses.is_dataclass(tree)
        and not isinstance(tree, type)
        and type(tree) not in pytree.SUPPORTED_NODES
    ):
        made = {field.name: field for field in dataclasses.fields(tree)}
        parts = {
            name: _walk(getattr(tree, name), _join(path, name), found, kind=kind)
            for name, field in made.items()
            if field.init
        }
        return lambda tensors: dataclasses.replace(
            tree, **{name: part(tensors) for name, part in parts.items()}
        )
    children, spec = pytree.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    if len(children) == 1 and children[0][0] == ():  # a leaf, whether a tensor or refused later
        if path in found:
            raise ValueError(f"{kind} has two tensors of the path {path!r}; rename one of their keys")
        found[path] = tree
        return lambda tensors: tensors[path]
    rebuilds = [_walk(child, _join(path, _key(keys[0])), found, kind=kind) for keys, child in children]
    return lambda tensors: pytree.tree_unflatten([rebuild(tensors) for rebuild in rebuilds], spec)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _key(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _is_node(value: Any) -> bool:
    if isinstance(value, Tensor):
        return False
    return isinstance(value, Mapping | torch.nn.Module | GeneratorType) or (
        dataclasses.is_dataclass(value) or not pytree.tree_is_leaf(value)
    )


def _refuse_modules(tree: Any, *, kind: str) -> None:
    advice = "dict(module.named_parameters()), used in the losses by torch.func.functional_call"
    if isinstance(tree, torch.nn.Module):
        raise ValueError(f"{kind} is a module ({type(tree).__name__}); give its tensors: {advice}")
    if isinstance(tree, GeneratorType):
        raise ValueError(f"{kind} is a generator; give tensors by name: {advice}")
    if isinstance(tree, list | tuple) and any(
        isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in tree
    ):
        raise ValueError(f"{kind} is a list of pairs; give tensors by name: {advice}")
