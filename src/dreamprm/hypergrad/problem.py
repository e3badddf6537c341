"""A bilevel problem: what is trained (inner loss over params) and what judges it (outer loss)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.micro_batches import Part, check_parts, share_of, whole_losses
from dreamprm.hypergrad.sharding import Sharding, Together

Tensors = Mapping[str, Tensor]
Loss = Callable[[Any, Any, Any], Tensor]


class BilevelProblem:
    """Two pure loss functions over params phi and outer variables alpha.

        min_alpha  outer_loss(phi_T(alpha), alpha; meta batch),
        phi_T: T optimizer steps on inner_loss(phi, alpha; batch)

    Give the inner level in one of two forms:

    - **plain**: `BilevelProblem(inner_loss, outer_loss)`; alpha may enter both in any differentiable way.
    - **structured**: `BilevelProblem(outer_loss=..., inner_losses=..., weights=..., unweighted_loss=...)`,
      for inner_loss = mean_i weights(alpha, batch, losses)_i * inner_losses(params, batch)_i +
      unweighted_loss. Prefer it where it applies: estimators that can exploit the structure then need fewer
      passes.

    In the structured form `weights` is handed the losses *detached*, so every estimator takes the derivative
    with these inputs held constant. That is the whole derivative where the weights ignore the losses (domain
    weights, instance tables); for weights computed from losses (InstanceNet) the path
    phi_t -> losses -> weights is left out, in all estimators alike.

    A window evaluates a loss again and again. Random numbers (dropout) and buffers changed in place
    (BatchNorm's) are those of the first evaluation each time, and are left as one evaluation leaves them;
    other state that a callable keeps must not change what it returns. Params and alpha must not be written
    to. `params` and `alpha` arrive as dict[str, Tensor]; batches are passed through untouched.

    Args:
        inner_loss: (params, alpha, batch) -> scalar tensor.
        outer_loss: (params, alpha, batch) -> scalar tensor.
        inner_losses: (params, batch) -> (n,) tensor; n may differ from batch to batch.
        weights: (alpha, batch, losses) -> (n,) tensor; losses is (n,), detached.
        unweighted_loss: (params, batch) -> scalar tensor that alpha does not touch; None for no such term.
        split: batch -> list of `Part`s, micro-batches of which one graph at a time is in memory; gradients
            and products are the sums over the parts, equal to those of the whole batch to rounding. It must
            return the same parts each time. Of a structured problem without `unweighted_loss` the bare
            batches of the parts will do: their losses, one after the other, are those of the whole batch.
            `weights` is called once with the whole batch and all its losses, for which every part but the
            last takes one more forward pass a step (not where the batch has one loss, spread over its parts
            by `Part.losses`). None: batches stay whole.
        split_outer: the same for the batches of outer_loss; each `Part` needs its share.
        sharding: of params whose entries are divided among processes, each of which runs the same windows on
            its shards: how sums over all entries are put together, see `Sharding`. The losses gather the
            params themselves, and give the same value in all processes. None: params are whole.
        together: the processes that compute a loss together, each its own rows of a batch, see `Together`.
            None: this one alone.

    A loss that is not a sum or mean over rows cannot be split: batch normalisation, in-batch negatives, or a
    mean over tokens unless the shares count tokens. `check_split` compares the parts with the whole.

    Raises:
        ValueError: both forms are given, or neither, or one is incomplete, or an argument is not callable; in
            a window, parts whose shares do not sum to 1.

    Source: DreamPRM, arXiv 2505.20241 (domain weights); DreamPRM-1.5 (weights from losses).
    """

    def __init__(
        self,
        inner_loss: Loss | None = None,
        outer_loss: Loss | None = None,
        *,
        inner_losses: Callable[[Any, Any], Tensor] | None = None,
        weights: Loss | None = None,
        unweighted_loss: Callable[[Any, Any], Tensor] | None = None,
        split: Callable[[Any], Iterable[Any]] | None = None,
        split_outer: Callable[[Any], Iterable[Any]] | None = None,
        sharding: Sharding | None = None,
        together: Together | None = None,
    ) -> None:
        structure = {"inner_losses": inner_losses, "weights": weights, "unweighted_loss": unweighted_loss}
        given = [name for name, function in structure.items() if function is not None]
        if outer_loss is None:
            raise ValueError("outer_loss is missing; give a callable (params, alpha, batch) -> scalar")
        if inner_loss is not None and given:
            raise ValueError(
                f"inner_loss and {', '.join(given)} were both given; give inner_loss alone "
                "(plain form) or inner_losses with weights (structured form)"
            )
        if inner_loss is None and (inner_losses is None or weights is None):
            raise ValueError(
                f"the inner level is incomplete: got {', '.join(given) or 'nothing'}; give "
                "inner_loss (plain form) or both inner_losses and weights (structured form)"
            )
        splits = {"split": split, "split_outer": split_outer}
        callables = {"inner_loss": inner_loss, "outer_loss": outer_loss, **structure, **splits}
        for name, function in callables.items():
            if function is not None and not callable(function):
                raise ValueError(f"{name} must be callable, got {type(function).__name__}")
        self._inner_loss = inner_loss
        self._outer_loss = outer_loss
        self._inner_losses = inner_losses
        self._weights = weights
        self._unweighted_loss = unweighted_loss
        self._split = split
        self._split_outer = split_outer
        self.sharding = sharding
        self.together = together

    def rebuilding(
        self, params: Callable[[Any], Any] | None, alpha: Callable[[Any], Any] | None
    ) -> BilevelProblem:
        """The problem over tensors by name, whose losses get the structures that these functions rebuild.

        Args:
            params, alpha: from tensors by name to the structure; None where there is nothing to rebuild.
        """
        if params is None and alpha is None:
            return self
        phi, upper = params or _same, alpha or _same
        inner, losses, weights, rest = (
            self._inner_loss,
            self._inner_losses,
            self._weights,
            self._unweighted_loss,
        )
        outer = self._outer_loss
        return BilevelProblem(
            None if inner is None else lambda p, a, batch: inner(phi(p), upper(a), batch),
            lambda p, a, batch: outer(phi(p), upper(a), batch),
            inner_losses=None if losses is None else lambda p, batch: losses(phi(p), batch),
            weights=None if weights is None else lambda a, batch, each: weights(upper(a), batch, each),
            unweighted_loss=None if rest is None else lambda p, batch: rest(phi(p), batch),
            split=self._split,
            split_outer=self._split_outer,
            sharding=self.sharding,
            together=self.together,
        )

    @property
    def structured(self) -> bool:
        """Whether the inner loss was given as a weighted mean of losses."""
        return self._inner_loss is None

    @property
    def has_unweighted_loss(self) -> bool:
        """Whether the inner loss has a term that alpha does not touch (structured form only)."""
        return self._unweighted_loss is not None

    def inner_loss(self, params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        """The whole inner loss, a scalar, in both forms."""
        loss = self.weighted_loss(params, alpha, batch)
        return loss + self.unweighted_loss(params, batch) if self.has_unweighted_loss else loss

    def weighted_loss(self, params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        """The part of the inner loss that alpha enters: all of it in the plain form."""
        if self._inner_loss is not None:
            return _scalar(self._inner_loss(params, alpha, batch), name="inner_loss")
        losses = self.inner_losses(params, batch)
        return (self.weights(alpha, batch, losses) * losses).mean()

    def inner_losses(self, params: Tensors, batch: Any) -> Tensor:
        """The losses before weighting, (n,). Structured form only.

        Raises:
            ValueError: the callable returned something else than a non-empty vector.
        """
        assert self._inner_losses is not None, "inner_losses of a problem in plain form"
        losses = self._inner_losses(params, batch)
        if losses.ndim != 1 or losses.numel() == 0:
            raise ValueError(
                f"inner_losses must return a vector (n,) with n >= 1, got shape {tuple(losses.shape)}"
            )
        return losses

    def weights(self, alpha: Tensors, batch: Any, losses: Tensor) -> Tensor:
        """The weight of each loss, (n,). Structured form only; the losses are detached here.

        Raises:
            ValueError: the callable returned another shape than that of the losses.
        """
        assert self._weights is not None, "weights of a problem in plain form"
        weights = self._weights(alpha, batch, losses.detach())
        if weights.shape != losses.shape:
            raise ValueError(
                f"weights must return one weight per loss, shape {tuple(losses.shape)}, "
                f"got {tuple(weights.shape)}"
            )
        return weights

    def unweighted_loss(self, params: Tensors, batch: Any) -> Tensor:
        """The term that alpha does not touch, a scalar. Only where `has_unweighted_loss`."""
        assert self._unweighted_loss is not None, "this problem has no unweighted_loss"
        return _scalar(self._unweighted_loss(params, batch), name="unweighted_loss")

    def outer_loss(self, params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        """The outer (meta) loss, a scalar."""
        return _scalar(self._outer_loss(params, alpha, batch), name="outer_loss")

    @property
    def splits(self) -> bool:
        """Whether inner batches are evaluated in parts."""
        return self._split is not None

    @property
    def splits_outer(self) -> bool:
        """Whether outer batches are evaluated in parts."""
        return self._split_outer is not None

    def parts(self, batch: Any) -> list[Part]:
        """The parts in which an inner batch is evaluated; the batch itself where it is not split.

        Raises:
            ValueError: there is none, or their shares do not sum to 1.
        """
        if self._split is None:
            return [Part(batch)]
        scalar = "unweighted_loss" if self.has_unweighted_loss else None if self.structured else "inner_loss"
        parts = check_parts(self._split(batch), scalar=scalar, vector=self.structured, given="split")
        return parts if len(parts) > 1 else [Part(batch)]

    def outer_parts(self, batch: Any) -> list[Part]:
        """The same for an outer batch."""
        if self._split_outer is None:
            return [Part(batch)]
        found = self._split_outer(batch)
        parts = check_parts(found, scalar="outer_loss", vector=False, given="split_outer")
        return parts if len(parts) > 1 else [Part(batch)]

    def whole_inner_losses(self, params: Tensors, batch: Any) -> Tensor:
        """The losses of the batch before weighting, (n,), put together from its parts. Structured form."""
        parts = self.parts(batch)
        if len(parts) == 1:
            return self.inner_losses(params, batch)
        return whole_losses(parts, [self.inner_losses(params, part.batch) for part in parts])

    @torch.no_grad()
    def check_split(
        self, params: Tensors, alpha: Tensors, batch: Any, outer_batch: Any = None, *, tolerance: float = 1e-4
    ) -> None:
        """Compare every loss of the whole batch with that of its parts, by forward passes alone.

        Call it once before a long run, where the whole batch still fits without a graph; with dropout off.

        Args:
            params, alpha: where the losses are evaluated.
            batch: an inner batch.
            outer_batch: an outer batch; None leaves the outer loss out.
            tolerance: relative difference that rounding may make.

        Raises:
            ValueError: they differ: the loss is no sum over the parts, or their shares are wrong.
        """
        parts = self.parts(batch)
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        if self.structured:
            pairs["inner_losses"] = self.inner_losses(params, batch), self.whole_inner_losses(params, batch)
        elif len(parts) > 1:
            total = sum(self.inner_loss(params, alpha, part.batch) * share_of(part) for part in parts)
            pairs["inner_loss"] = self.inner_loss(params, alpha, batch), torch.as_tensor(total)
        if self.has_unweighted_loss and len(parts) > 1:
            total = sum(self.unweighted_loss(params, part.batch) * share_of(part) for part in parts)
            pairs["unweighted_loss"] = self.unweighted_loss(params, batch), torch.as_tensor(total)
        if outer_batch is not None:
            whole = self.outer_loss(params, alpha, outer_batch)
            outer_parts = self.outer_parts(outer_batch)
            if len(outer_parts) > 1:
                total = sum(
                    self.outer_loss(params, alpha, part.batch) * share_of(part) for part in outer_parts
                )
                pairs["outer_loss"] = whole, torch.as_tensor(total)
        for name, (whole, in_parts) in pairs.items():
            if whole.shape != in_parts.shape:
                raise ValueError(
                    f"{name} of the whole batch has shape {tuple(whole.shape)}, its parts give "
                    f"{tuple(in_parts.shape)}; say by Part(losses=...) which loss each part's belongs to"
                )
            error = float((whole - in_parts).abs().max())
            if not error <= tolerance * float(whole.abs().max()):
                raise ValueError(
                    f"{name} of the whole batch differs from that of its parts by {error:.3g} (it is "
                    f"{float(whole.abs().max()):.3g}): it is no sum over the parts, or their shares are wrong"
                )


def _same(tensors: Any) -> Any:
    return tensors


def _scalar(loss: Tensor, *, name: str) -> Tensor:
    if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ValueError(
            f"{name} must return a scalar tensor (0-dimensional), got {got}; reduce it, e.g. by mean()"
        )
    return loss
