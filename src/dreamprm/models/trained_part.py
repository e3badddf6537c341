"""Which parameters of a PRM are trained: all, those that patterns name, or adapters and the step head."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from dreamprm.config.errors import UserError
from dreamprm.models.frozen_weights import store_frozen
from dreamprm.models.lora import is_adapted, is_adapter

BACKBONE, HEAD, VISION = "backbone.", "head.", "backbone.model.visual."
"""What names of parameters start with: all but the step head's; the step head's; the vision tower's."""


def trained_names(prm: nn.Module, *, freeze_vision: bool = False, patterns: Sequence[str] = ()) -> list[str]:
    """The names of the parameters that are trained, in the model's order.

        without adapters:  what matches one of the patterns; without patterns all
        with adapters:     these, the step head, and what matches one of the patterns

    The weights that adapters adapt are never trained.

    Args:
        freeze_vision: without the vision tower.
        patterns: for whole names.

    Raises:
        UserError: a pattern that matches no parameter, of those that `freeze_vision` leaves and that no
            adapter adapts.
    """
    every = [name for name, _ in prm.named_parameters()]
    own = [name for name in every if not (freeze_vision and name.startswith(VISION))]
    candidates = [name for name in own if not (is_adapter(name) or is_adapted(name))]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            raise UserError(
                f"{pattern!r} matches no parameter that can be trained; names are such as "
                f"{', '.join([*candidates[:1], *candidates[-2:]])}"
            )
    matched = {name for name in candidates if any(fnmatchcase(name, pattern) for pattern in patterns)}
    if any(is_adapter(name) for name in every):
        return [name for name in own if is_adapter(name) or name.startswith(HEAD) or name in matched]
    return [name for name in own if name in matched or not patterns]


def store_untrained(prm: nn.Module, trained: Sequence[str]) -> int:
    """Store the backbone's matrices that are not trained in bfloat16 (`frozen_weights.store_frozen`).

    Args:
        trained: names, from `trained_names`.

    Returns:
        The number of entries that are stored so. The step head stays as it is.
    """
    backbone = prm.get_submodule(BACKBONE.rstrip("."))
    return store_frozen(backbone, {name.removeprefix(BACKBONE) for name in trained})
