"""A deep model's footprint from those of shallow ones: each further layer takes what the last one took."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from typing import Any

from transformers import PreTrainedConfig

from dreamprm.models.backbone import reads_images
from dreamprm.training.plan.abstract_window import Footprint

SHALLOW = 1
"""Layers of the shallower model; the deeper one has one more."""
_TEXT, _VISION = re.compile(r"\.layers\.(\d+)\.(.*)"), re.compile(r"\.blocks\.(\d+)\.(.*)")


def depths(backbone: PreTrainedConfig) -> tuple[int, int]:
    """The number of layers of the language model, and of the vision tower, if there is one."""
    vision = backbone.vision_config.depth if reads_images(backbone) else 0
    return backbone.get_text_config().num_hidden_layers, vision


def with_depths(backbone: PreTrainedConfig, text: int, vision: int) -> PreTrainedConfig:
    """The same shapes with other numbers of layers, fewer than they have."""
    changed = copy.deepcopy(backbone)
    of_text: Any = changed.get_text_config()
    of_text.num_hidden_layers = text
    if getattr(of_text, "layer_types", None):
        of_text.layer_types = of_text.layer_types[:text]
    if reads_images(changed):
        changed.vision_config.depth = vision
    return changed


def footprint_of(
    backbone: PreTrainedConfig, trained: Iterable[str], count: Callable[[PreTrainedConfig], Footprint]
) -> Footprint:
    """What `count` would give of the whole backbone, extrapolated over its layers where these are alike.

    The peak of each stretch of a window (`Footprint.peaks`) grows by the same with every layer, and so do
    parameters and work; which stretch has the highest peak is decided afterwards.

    Args:
        trained: names of the trained parameters. Layers of which unequal parts are trained are not alike.
    """
    names = list(trained)
    text, vision = depths(backbone)
    kinds = set(getattr(backbone.get_text_config(), "layer_types", None) or [""])
    fewer_text = SHALLOW if text > SHALLOW + 1 and len(kinds) == 1 and _alike(names, _TEXT, text) else text
    # The other families' towers have windows, or outputs in between.
    plain = backbone.model_type == "qwen2_vl" and _alike(names, _VISION, vision)
    fewer_vision = SHALLOW if vision > SHALLOW + 1 and plain else vision
    base = count(with_depths(backbone, fewer_text, fewer_vision))
    found = base
    if fewer_text < text:
        deeper = count(with_depths(backbone, fewer_text + 1, fewer_vision))
        found = found.plus(deeper.plus(base, -1.0), text - fewer_text)
    if fewer_vision < vision:
        deeper = count(with_depths(backbone, fewer_text, fewer_vision + 1))
        found = found.plus(deeper.plus(base, -1.0), vision - fewer_vision)
    return found


def _alike(names: Iterable[str], layers: re.Pattern[str], depth: int) -> bool:
    """Whether the same parameters are trained in each of the layers, or none."""
    parts: dict[int, set[str]] = {}
    for name in names:
        found = layers.search(name)
        if found is not None:
            parts.setdefault(int(found[1]), set()).add(found[2])
    sets = [parts.get(layer, set()) for layer in range(depth)]
    return all(one == sets[0] for one in sets)
