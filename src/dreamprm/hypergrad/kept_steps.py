"""What `first_order` keeps of a window on its way forward, tensor by tensor, for the sweep back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dreamprm.hypergrad.base import WindowTask
from dreamprm.hypergrad.clipping import Clip
from dreamprm.hypergrad.differences import Scale
from dreamprm.hypergrad.inner_optimizer import OptimizerState, moments_at
from dreamprm.hypergrad.mixed_derivative import Mixed
from dreamprm.hypergrad.mixed_difference import shared_error
from dreamprm.hypergrad.offload import Kept, Store
from dreamprm.hypergrad.sharding import params_norm, total
from dreamprm.hypergrad.window_passes import InnerGradient

_PARAM = "param "  # no name of moments: those are identifiers
# Relative error of an entry of a slope whose gradient was rounded to bfloat16 (2^-9 at most, and half of
# that in the root mean square), once itself and once through gbar, which depends on it.
BF16_ROUNDING = 2.0**-9


class KeptStep:
    """What is kept of one inner step: gradients and phi_t in their stores, the rest in memory."""

    def __init__(
        self,
        inner: InnerGradient,
        store: Store,
        clip: Clip | None,
        params: dict[str, Tensor] | None,
        *,
        gradients: Store,
    ) -> None:
        self.inner = replace(inner, grads=None, single=None)
        self.clip = clip
        self.params = None if params is None else store.keep(params)
        """phi_t, where the mixed derivative evaluates losses there."""
        self._grads = None if inner.grads is None else keep_each(gradients, inner.grads)
        self._single = None if inner.single is None else keep_each(gradients, inner.single)
        self.gbar: dict[str, Kept] = {}
        """The derivative of L_meta in g_t; takes the place of g_t, tensor by tensor."""
        self.slope: Tensor | None = None
        """<gbar_t, grad L_1>, found by the sweep (n = 1)."""
        self.scale: Scale | None = None
        """How fast the loss moves along gbar_t, found by the sweep (n > 1)."""
        self._spreads: list[Tensor] = []
        """|gbar_t * g_t| tensor by tensor, where what is kept is rounded: what its errors do to the slope."""
        self.used_norm: float | None = None
        """|gbar_t| over the entries whose gradient is not 0, where asked for."""

    def note_rounding(self, gbar: Tensor, grad: Tensor, single: Tensor | None) -> None:
        """Note how much the rounding of one tensor counts; `grad` is the gradient that the optimizer used."""
        toward = grad
        if single is not None:
            toward = single if self.clip is None else self.clip.clipped(single)
        self._spreads.append(torch.linalg.vector_norm(gbar * toward))

    def rounding_error(self, task: WindowTask, mixed: Mixed) -> float:
        """|error| of the step's mixed derivative that comes of the rounding noted."""
        if not self._spreads:
            return 0.0
        slope = 0.0 if self.scale is None else self.scale.slope
        return _error_of_slopes(task, self.inner, mixed, spreads=self._spreads, slope=slope)

    @property
    def has_single(self) -> bool:
        """Whether the batch held one loss (n = 1)."""
        return self._single is not None

    def single(self, name: str) -> Tensor:
        """The gradient of the only loss, of one tensor."""
        assert self._single is not None
        return self._single[name].load()[name]

    def loaded_single(self, name: str) -> Tensor | None:
        """`single`, or None where the batch held several losses."""
        return self.single(name) if self.has_single else None

    def grad(self, name: str, single: Tensor | None = None) -> Tensor:
        """g_t of one tensor; `single` if it is loaded, as it may have to come from far."""
        if self._grads is not None:
            return self._grads[name].load()[name]
        assert self.inner.weight is not None
        return (self.single(name) if single is None else single) * self.inner.weight

    def used_grad(self, name: str, single: Tensor | None = None) -> Tensor:
        """The gradient that the optimizer used, with its bits; `single` as for `grad`."""
        grad = self.grad(name, single)
        return grad if self.clip is None else self.clip.clipped(grad)

    def all_grads(self) -> dict[str, Tensor]:
        """g_t by name."""
        kept = self._single if self._grads is None else self._grads
        assert kept is not None
        return {name: self.grad(name) for name in kept}

    def drop_grad(self, name: str) -> None:
        """Free g_t of one tensor."""
        assert self._grads is not None
        self._grads.pop(name).drop()

    def drop_grads(self) -> None:
        """Free g_t."""
        for name in list(self._grads or ()):
            self.drop_grad(name)


class Start:
    """The moments before the window, and the params where they are wanted, tensor by tensor: as they are, or
    copies once they are to be overwritten."""

    def __init__(
        self, params: Mapping[str, Tensor], state: OptimizerState, store: Store, *, with_params: bool
    ) -> None:
        self.step = state.step
        self._names = list(params)
        self._params = params if with_params else None
        self._state, self._store = state, store
        self._kept: dict[str, Kept] | None = None

    def detach(self) -> None:
        """Copy them: what they are now is overwritten next."""
        self._kept = {}
        for name in self._names:
            tensors = self._tensors(name)
            if not self._store.copies(tensors):
                tensors = {key: tensor.clone() for key, tensor in tensors.items()}
            self._kept[name] = self._store.keep(tensors)

    def read(self, name: str) -> tuple[Tensor | None, dict[str, Tensor]]:
        """(param or None, moments) of one tensor; read once."""
        if self._kept is None:
            tensors = self._tensors(name)
        else:
            kept = self._kept.pop(name)
            tensors = dict(kept.load())
            kept.drop()
        return tensors.pop(_PARAM, None), tensors

    def _tensors(self, name: str) -> dict[str, Tensor]:
        moments = moments_at(self._state, name)
        return moments if self._params is None else {_PARAM: self._params[name], **moments}


def rounding_error(
    task: WindowTask,
    inner: InnerGradient,
    mixed: Mixed,
    *,
    grads: Mapping[str, Tensor],
    gbar: Mapping[str, Tensor],
) -> float:
    """|error| of a step's mixed derivative along gbar_t, whose gradients g_t were kept in bfloat16."""
    toward = grads if inner.single is None else inner.single
    spreads, slopes = [], []
    for name, grad in toward.items():
        products = gbar[name] * grad
        spreads.append(torch.linalg.vector_norm(products))
        slopes.append(products.sum())
    return _error_of_slopes(
        task, inner, mixed, spreads=spreads, slope=float(total(torch.stack(slopes).sum()))
    )


def _error_of_slopes(
    task: WindowTask, inner: InnerGradient, mixed: Mixed, *, spreads: list[Tensor], slope: float
) -> float:
    """The same from |gbar_t * g_t|, tensor by tensor, and <gbar_t, g_t>.

    The errors of the entries are independent: a slope is off by the root of their squares, which is small
    beside it unless most of the slope cancels. In structured form `mixed` has the slopes of all losses, of
    which g_t is the mean (or their only gradient, without its weight).
    """
    spread, size = float(params_norm(spreads)), abs(slope)
    if spread == 0.0:
        return 0.0
    if mixed.slopes is not None:
        size = float(mixed.slopes.norm()) / mixed.slopes.numel() ** 0.5
    share = BF16_ROUNDING * spread / size if size > 0.0 else math.inf
    return shared_error(task.problem, task.alpha, inner.batch, losses=inner.losses, mixed=mixed, share=share)


def keep_each(store: Store, tensors: Mapping[str, Tensor]) -> dict[str, Kept]:
    """Put every tensor away by itself, so that one can be loaded without the others."""
    return {name: store.keep({name: tensor}) for name, tensor in tensors.items()}


def take_all(kept: dict[str, Kept]) -> dict[str, Tensor]:
    """All tensors, which are not read again from there."""
    tensors = {}
    for name in list(kept):
        one = kept.pop(name)
        tensors[name] = one.load()[name]
        one.drop()
    return tensors
