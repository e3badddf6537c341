"""Memory and arithmetic of code that runs on tensors without values: what it would hold, never held.

Floating-point tensors have a shape, a dtype and a device, but no memory (torch's `FakeTensor`); integers are
real, as models branch on them (image sizes, positions). Every operation passes through here, below autograd,
so that what autograd keeps, what a window keeps and what is alive for a moment are counted alike, by the
storages that live. Where code asks for the value of a floating-point number, it is 1.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dreamprm.hypergrad.offload import Kept, Store
from dreamprm.hypergrad.watched_changes import tensors_in
from dreamprm.training.plan.tally import Tally

aten = torch.ops.aten

SMALL = 1024
"""Entries of a real result that keeps its values."""
_CPU, _DEVICE = torch.device("cpu"), torch.ops.prim.device.default

_COMPARISONS: dict[Any, Callable[[Any, Any], bool]] = {
    aten.lt: lambda a, b: a < b,
    aten.le: lambda a, b: a <= b,
    aten.gt: lambda a, b: a > b,
    aten.ge: lambda a, b: a >= b,
    aten.eq: lambda a, b: a == b,
    aten.ne: lambda a, b: a != b,
}
_TELLING = frozenset(
    (*_COMPARISONS, aten.all, aten.any, aten.stack, aten.select, aten.squeeze, aten.detach, aten.view)
    + (aten.logical_not,)
)
_LIKE = {  # by the arguments that its arithmetic depends on
    aten._scaled_dot_product_flash_attention_for_cpu: aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        aten._scaled_dot_product_efficient_attention_backward
    ),
}
_INDEXING = frozenset((aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_))
_COPIED_BY_GLOO = frozenset((torch.ops.c10d._allgather_base_, torch.ops.c10d._reduce_scatter_base_))
_RESHAPING = frozenset(
    ("resize_", "set_", "t_", "transpose_", "squeeze_", "unsqueeze_", "as_strided_", "detach_", "swapaxes_")
)


class CountedMemory(TorchDispatchMode):
    """While active, floating-point tensors are made without memory, and what lives is counted in `tally`.

    What is found out about an operation serves all later ones on tensors of the same forms: use one object
    for all that is counted.

    Tensors are of one of the kinds of `Counts`: parameters and moments as `mark` says, copies by their shape,
    which is that of a parameter marked as trained.

    Args:
        gloo: processes speak over gloo, as those of a CPU do. It copies the whole of what it gathers or
            scatters (measured, torch 2.13).
    """

    def __init__(self, *, gloo: bool = True) -> None:
        super().__init__()
        self._gloo = gloo
        self.tally = Tally()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._live: dict[int, tuple[Any, str, int]] = {}
        self._shapes: set[tuple[int, ...]] = set()
        self._known: dict[Any, Any] = {}

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """True: what compiled code does inside is not seen."""
        return True

    @contextmanager
    def counting(self) -> Iterator[Tally]:
        """The block on tensors without values, with a tally of its own."""
        self.tally, self._live, self._shapes = Tally(), {}, set()
        with self, warnings.catch_warnings():
            # Whether two tensors share memory is asked by their addresses, which are 0 here.
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            yield self.tally

    def mark(self, tensors: Iterable[Tensor], kind: str, *, trained: bool = False) -> None:
        """Count these tensors, which exist, as of this kind from now on."""
        for tensor in tensors:
            if trained:
                self._shapes.add(tuple(tensor.shape))
            held = self._live.get(_storage(tensor)._cdata)
            if held is None or held[1] == kind:
                continue
            reference, before, size = held
            self.tally.add(before, -size)
            self.tally.add(kind, size)
            self._live[_storage(tensor)._cdata] = (reference, kind, size)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation: on shapes alone if a tensor without values takes part or would be made."""
        if func is _DEVICE:  # asked as often as anything is computed
            return _CPU
        kwargs = kwargs or {}
        given = tensors_in((*args, *kwargs.values()))
        fake = any(isinstance(one, FakeTensor) for one in given)
        packet = func._overloadpacket
        if not fake and not _makes_floats(packet, given, args, kwargs):
            return self._large(func(*args, **kwargs), given)
        if fake:
            known = _value(packet, args)
            if known is not None:
                return known
        if func.namespace == "c10d":  # of a group in which nothing is exchanged
            if self._gloo and packet in _COPIED_BY_GLOO:
                size = max(map(_bytes, given))
                self.tally.add("copies", size)
                self.tally.add("copies", -size)
            return _exchanged(func, args, kwargs)
        if packet in _INDEXING:
            args = _with_positions(args)
        if packet is aten.masked_scatter_backward:
            func, args = aten.new_empty.default, (args[0], args[2])
        form = _form(func)
        if form == "in place":
            self._done(packet, args, kwargs, given, None, [])
            return args[0] if func._schema.returns else None
        key = _key(func, args, kwargs) if form != "other" else None
        known = self._known.get(key) if key is not None else None
        if known is not None:
            out, new = self._made(known.forms, args[0] if args else None), known.new
            outputs = tensors_in((out,))
        else:
            out = self._fake.dispatch(func, types, args, kwargs)
            outputs = tensors_in((out,))
            shared = {_storage(one)._cdata for one in given}
            new = any(_storage(one)._cdata not in shared for one in outputs)
            if key is not None:
                found = _described(out, args[0] if args else None, shared)
                if found is not None:
                    self._known[key] = _Known(found, new)
                    # Those of torch have weak references, and modules refuse to exchange such parameters.
                    out = self._made(found, args[0] if args else None)
                    outputs = tensors_in((out,))
        if packet in _TELLING:
            truth = _truth(packet, args)
            if truth is not None:
                outputs[0]._dreamprm_truth = truth  # type: ignore[attr-defined]
        if new:
            for one in outputs:
                storage = _storage(one)
                if storage._cdata not in self._live:
                    self._hold(storage._cdata, storage, one)
            self._done(packet, args, kwargs, given, out, outputs)
        return out

    def _large(self, out: Any, given: list[Tensor]) -> Any:
        """The result of real tensors, without values if it is a large one of floating-point numbers, such as
        a mask: small ones may decide what code does."""
        if not isinstance(out, Tensor) or out.numel() <= SMALL or not out.dtype.is_floating_point:
            return out
        if any(_storage(out)._cdata == _storage(one)._cdata for one in given):
            return out
        made = self._made(_Form(out.shape, out.stride(), out.dtype, None), None)
        self._hold(_storage(made)._cdata, _storage(made), made)
        return made

    def _made(self, form: Any, base: Any) -> Any:
        """Results of these forms, of an operation that was seen before on tensors like these."""
        # No function within a function that calls itself: it would keep `base` alive until Python's collector
        # comes.
        if not isinstance(form, _Form):
            each = [self._made(one, base) for one in form]
            return tuple(each) if isinstance(form, tuple) else each
        if form.offset is None:
            plain = torch.empty_strided(form.shape, form.stride, dtype=form.dtype, device="meta")
        else:
            plain = torch.empty(0, dtype=form.dtype, device="meta")
            plain.set_(_storage(base), form.offset, form.shape, form.stride)
        return FakeTensor(self._fake, plain, _CPU)

    def _done(
        self,
        packet: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: list[Tensor],
        out: Any,
        outputs: list[Tensor],
    ) -> None:
        tally = self.tally
        tally.operations += 1
        formula = _flop_formula(packet)
        if formula is not None:
            tally.flops += formula(*args, **kwargs, out_val=out)
        else:
            tally.traffic += sum(map(_bytes, given)) + sum(map(_bytes, outputs or given[:1]))

    def _hold(self, key: int, storage: Any, tensor: Tensor) -> None:
        size = storage.nbytes()
        kind = "copies" if tuple(tensor.shape) in self._shapes else "activations"

        live, tally = self._live, self.tally

        def gone(reference: Any) -> None:
            del reference
            held = live.pop(key, None)
            if held is not None:
                tally.add(held[1], -held[2])

        live[key] = (weakref.ref(storage, gone), kind, size)
        tally.add(kind, size)


class _Form(NamedTuple):
    """Of one result: a new tensor, or a view of the first argument from `offset` on."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    offset: int | None


class _Known(NamedTuple):
    """Of all results of an operation, and whether any of them is new."""

    forms: Any
    new: bool


def _described(out: Any, base: Any, shared: set[int]) -> Any:
    """The forms of an operation's results; None where they cannot be made without it.

    Args:
        base: its first argument.
        shared: what tells the storages of its arguments.
    """
    if isinstance(out, tuple | list):
        forms = [_described(one, base, shared) for one in out]
        if any(one is None for one in forms):
            return None
        return forms if isinstance(out, list) else tuple(forms)
    if not isinstance(out, FakeTensor) or out.device != _CPU:
        return None
    key, offset = _storage(out)._cdata, None
    if key in shared:
        if not isinstance(base, FakeTensor) or _storage(base)._cdata != key:
            return None
        offset = int(out.storage_offset())
    return _Form(out.shape, out.stride(), out.dtype, offset)


def _key(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What decides the forms of an operation's results; None where it cannot be told."""
    key = (
        func,
        _keyed(args),
        tuple((name, _keyed(value)) for name, value in kwargs.items()),
        torch.get_default_dtype(),
    )
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _keyed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype, value.storage_offset(), type(value))
    if isinstance(value, list | tuple):
        return tuple(map(_keyed, value))
    return (type(value), value)


@cache
def _form(func: Any) -> str:
    """What an operation returns: "new" tensors, a "view", or its first argument, changed "in place"."""
    schema = func._schema
    name = schema.name.partition("::")[2]
    first = schema.arguments[0].alias_info if schema.arguments else None
    if first is not None and first.is_write and name.endswith("_"):
        return "other" if name in _RESHAPING else "in place"
    if any(one.alias_info is not None for one in schema.returns):
        return "view"
    written = any(one.alias_info is not None and one.alias_info.is_write for one in schema.arguments)
    return "other" if written else "new"


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _makes_floats(packet: Any, given: list[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation on no tensor makes one of floating-point numbers."""
    if given:
        return False
    dtype = kwargs.get("dtype")
    if dtype is None and packet in (aten.arange, aten.full, aten.scalar_tensor):  # by the numbers given
        return any(isinstance(one, float) for one in args)
    return (dtype or torch.get_default_dtype()).is_floating_point


def _value(packet: Any, args: tuple[Any, ...]) -> Any:
    """The answer where code asks for a value; None where it does not."""
    if packet is aten._local_scalar_dense:
        tensor = args[0]
        if tensor.dtype is torch.bool:
            return getattr(tensor, "_dreamprm_truth", True)
        return 1.0 if tensor.dtype.is_floating_point else 1
    return True if packet is aten.equal else None


def _exchanged(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A collective's result, which is in the tensors that it was given to write into: of a group in which
    nothing is exchanged, asked with tensors that have the same proportions and few entries."""
    shared = gcd(*(one.numel() for one in tensors_in(args))) or 1

    def small(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.ones(value.numel() // shared, dtype=torch.int64)
        return [small(one) for one in value] if isinstance(value, list) else value

    out = func(*map(small, args), **kwargs)
    return (args[0], *out[1:]) if isinstance(out, tuple) else out


def _truth(packet: Any, args: tuple[Any, ...]) -> bool | None:
    """What a comparison of numbers that are all 1 says; None where it is not known."""
    if packet in _COMPARISONS:
        other = args[1] if isinstance(args[1], int | float) else 1.0
        return _COMPARISONS[packet](1.0, other)
    one = args[0][0] if isinstance(args[0], list | tuple) and args[0] else args[0]
    truth = getattr(one, "_dreamprm_truth", None)
    return truth if packet is not aten.logical_not or truth is None else not truth


def _with_positions(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Masks that index, which are real, as positions: the size of the result follows from their values."""
    found: list[Any] = []
    for index in args[1]:
        masks = isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
        if masks and not isinstance(index, FakeTensor):
            found.extend(index.nonzero().unbind(1))
        else:
            found.append(index)
    return (args[0], found, *args[2:])


@cache
def _flop_formula(packet: Any) -> Callable[..., int] | None:
    found: Callable[..., int] | None = flop_registry.get(_LIKE.get(packet, packet))
    return found


class CountedStore(Store):
    """Puts tensors away by counting them: in `Tally.elsewhere`, for `offload="cpu"` and `"disk"`."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def copies(self, tensors: Mapping[str, Tensor]) -> bool:
        """Always."""
        return True

    def keep(self, tensors: Mapping[str, Tensor]) -> Kept:
        """Count the tensors."""
        return _Counted(self._tally, tensors)


class _Counted(Kept):
    def __init__(self, tally: Tally, tensors: Mapping[str, Tensor]) -> None:
        self._tally = tally
        self._layout = {name: (one.shape, one.stride(), one.dtype) for name, one in tensors.items()}
        self._size = sum(_bytes(one) for one in tensors.values())
        tally.put_away(self._size)

    def load(self) -> dict[str, Tensor]:
        """Fresh tensors of the same form."""
        return {
            name: torch.empty_strided(shape, stride, dtype=dtype)
            for name, (shape, stride, dtype) in self._layout.items()
        }

    def drop(self) -> None:
        """Count them no more."""
        self._tally.put_away(-self._size)
        self._size = 0
