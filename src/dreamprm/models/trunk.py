"""The frozen lower part of a PRM: where it ends, which weights it has, and the layers above it run alone.

With the embeddings, the vision tower and the layers 0..n-1 frozen, the states that enter layer n depend on
the record alone. They can be computed once, and every pass of the training starts there. If no layer is
trained (only the final norm or the head are), only the states at the tokens that are read are needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from dreamprm.config.errors import UserError
from dreamprm.models.backbone import attention_in_use, last_hidden_states, reads_images, text_model
from dreamprm.models.prm import PRM

_THREADS = 4  # tensors hashed at once
# Of a config: where it comes from, which changes no state.
_ORIGIN = frozenset(("_name_or_path", "transformers_version", "architectures"))


@dataclass(frozen=True)
class Trunk:
    """The embeddings, the vision tower and the layers 0..first-1 of a PRM.

    Args:
        prm: the model.
        first: the first layer that does not belong to it; with as many as the model has, it is the final norm
            that follows.
    """

    prm: PRM
    first: int

    @classmethod
    def below(cls, prm: PRM, trained: Collection[str]) -> Trunk:
        """The largest trunk without a trained parameter.

        Args:
            trained: the names of the trained parameters, as `prm.named_parameters` has them.

        Raises:
            UserError: the embeddings or the vision tower are trained; the trunk has dropout, so that each
                pass has other states; or layers above it take features of the vision tower themselves.
        """
        names = {parameter: name for name, parameter in prm.named_parameters()}
        chosen = {parameter for parameter, name in names.items() if name in trained}
        text = text_model(prm.backbone)
        first = next(
            (
                number
                for number, layer in enumerate(text.layers)
                if any(parameter in chosen for parameter in layer.parameters())
            ),
            len(text.layers),
        )
        trunk = cls(prm, first)
        for module in trunk.modules().values():
            for parameter in module.parameters():
                if parameter in chosen:
                    raise UserError(
                        f"{names[parameter]} is trained, and every state depends on it: the embeddings and "
                        "the vision tower must be frozen. Train the upper layers or the head alone "
                        "(model.trainable=['head.*', ...])"
                    )
            if any(_has_dropout(part) for part in module.modules()):
                raise UserError(
                    "the frozen layers have dropout, so that their states differ in each pass; set "
                    "attention_dropout to 0 in the model's config"
                )
        vision = getattr(prm.backbone.config, "vision_config", None)
        fed = len(getattr(vision, "deepstack_visual_indexes", ()))
        if first < fed:
            raise UserError(
                f"layer {first} is trained, and this backbone adds features of its vision tower to the "
                f"states after each of its first {fed} layers; train layer {fed} and those above it alone"
            )
        return trunk

    @property
    def reads_only(self) -> bool:
        """Whether only the states at the tokens that are read are needed: no layer follows."""
        return self.first == len(text_model(self.prm.backbone).layers)

    def modules(self) -> dict[str, nn.Module]:
        """Its parts by name."""
        text = text_model(self.prm.backbone)
        tower = {"visual": self.prm.backbone.model.visual} if reads_images(self.prm.backbone.config) else {}
        return {
            **tower,
            "embed_tokens": text.embed_tokens,
            "rotary_emb": text.rotary_emb,
            **{f"layers.{number}": text.layers[number] for number in range(self.first)},
        }

    @torch.no_grad()
    def states(self, batch: Mapping[str, Tensor]) -> Tensor:
        """`(R, L, hidden)` states that enter layer `first` (or the final norm); no layer above is run.

        Args:
            batch: from `PRMProcessor.collate`, on the model's device.
        """
        text = text_model(self.prm.backbone)
        above = text.norm if self.reads_only else text.layers[self.first]
        found: list[Tensor] = []

        def stop(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            found.append(arguments[0])
            raise _Reached

        handle = above.register_forward_pre_hook(stop)
        try:
            last_hidden_states(self.prm.backbone, batch)
        except _Reached:
            pass
        finally:
            handle.remove()
        return found[0]

    def identity(self) -> list[Any]:
        """What its states depend on besides the batch and the precision of the pass, as JSON values: its
        weights by content (about 1 s per GB and core), the config, the kernels and the libraries."""
        backbone = self.prm.backbone
        with ThreadPoolExecutor(_THREADS) as pool:
            weights = list(pool.map(_digest, self._tensors()))
        config = {name: value for name, value in backbone.config.to_dict().items() if name not in _ORIGIN}
        return [
            self.first,
            weights,
            repr(sorted(config.items())),
            sorted(attention_in_use(backbone)),
            [torch.__version__, transformers.__version__],
        ]

    def require_same(self, params: Mapping[str, Tensor], *, whose: str) -> None:
        """Refuse another model's params, of which passes are to start from this trunk's states.

        Raises:
            UserError: one of them is in the trunk, with other values.
        """
        inside = {parameter for module in self.modules().values() for parameter in module.parameters()}
        for name, parameter in self.prm.named_parameters():
            if parameter in inside and name in params and not torch.equal(parameter, params[name]):
                raise UserError(
                    f"{whose} has another {name}, which is frozen in this run, so the cached states are not "
                    "its own; train it with the same model.trainable"
                )

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for part, module in self.modules().items():
            for name, tensor in chain(module.named_parameters(), module.named_buffers()):
                yield f"{part}.{name}", tensor.detach()


class _Reached(Exception):
    """The pass has come to the end of the trunk."""


def _has_dropout(module: nn.Module) -> bool:
    share = getattr(module, "attention_dropout", None) or getattr(module, "p", None)
    return module.training and isinstance(share, int | float) and share > 0


def _digest(named: tuple[str, Tensor]) -> list[Any]:
    name, tensor = named
    raw = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return [name, str(tensor.dtype), list(tensor.shape), hashlib.sha256(raw.data).hexdigest()]
