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
