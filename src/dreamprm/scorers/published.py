"""PRMs of other projects in their own form: what they have in common, and how they are recognised.

Each is a language model or a Qwen-VL, rows of tokens of its own layout, and log-odds that are read from the
final states at one token of every step:

    log-odds_i = w . f(h_i) + b        f: the identity, or the first layer of a deeper head

A head with two classes, or two tokens of the vocabulary, has w = w_right - w_wrong: the log-odds of a softmax
over the two.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreamprm.config.errors import UserError
from dreamprm.config.strategies import Registry
from dreamprm.files.json_values import parse_json
from dreamprm.models.backbone import make_backbone
from dreamprm.models.chat import NoPlaceForImages, TextOnlyModel
from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor, ProcessorSettings


@dataclass(frozen=True)
class Head:
    """`w`, `b` and `f` of the log-odds.

    Attributes:
        weight: `(hidden,)`.
        bias: of a class; 0 for tokens of a vocabulary.
        before: f; None: the identity.
    """

    weight: Tensor
    bias: float = 0.0
    before: nn.Module | None = None


@dataclass(frozen=True)
class TokenRow:
    """A chain of thought in a layout: its text with images' pads, and where its steps are read."""

    ids: list[int]
    reads: list[int]


class Layout(ABC):
    """The form of another project's PRMs.

    Attributes:
        heads: what names of tensors start with that are neither the backbone's nor the vocabulary head's.
        takes_images: whether it has a place for them.
    """

    heads: ClassVar[tuple[str, ...]] = ()
    takes_images: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def recognises(cls, config: dict[str, Any]) -> bool:
        """Whether a checkpoint's config.json says that it has this form."""

    @abstractmethod
    def head(self, folder: Path, backbone: PreTrainedModel, processor: PRMProcessor) -> Head:
        """The head of the checkpoint in a folder, of which the backbone was loaded.

        Raises:
            UserError: it has no such head.
        """

    @abstractmethod
    def row(self, processor: PRMProcessor, question: str, n_images: int, steps: Sequence[str]) -> TokenRow:
        """A chain of thought as tokens, with one pad per image.

        Raises:
            UserError: it cannot be written in this layout.
        """


class NoPlaceInLayout(NoPlaceForImages):
    """A layout for texts was given images."""

    def __init__(self, n_images: int) -> None:
        UserError.__init__(
            self,
            f"the model's layout is one for texts, and a question shows {n_images} "
            f"image{'' if n_images == 1 else 's'}; score questions without images",
        )


class LayoutProcessor(PRMProcessor):
    """Encodes chains of thought in the layout of another project."""

    layout: Layout

    def frame(self, n_images: int) -> tuple[str, str]:
        """Refuse images that the layout has no place for; it has no text around the user's."""
        if self.text_only and n_images:
            raise TextOnlyModel(n_images)
        if n_images and not self.layout.takes_images:
            raise NoPlaceInLayout(n_images)
        return "", ""

    def encode(
        self,
        question: str,
        images: Sequence[Image.Image | np.ndarray] = (),
        steps: Sequence[str] = (),
        *,
        readout: str | None = None,
    ) -> EncodedCoT:
        """One row for a chain of thought; `readout` has no meaning here."""
        del readout
        if not steps:
            raise UserError("a chain of thought needs at least one step, got none")
        self.frame(len(images))
        pixels = tuple(self.patcher.resized(image) for image in images)
        found = self.layout.row(self, question, len(pixels), steps)
        assert len(found.reads) == len(steps)
        texts = {"question": question, **{f"steps[{place}]": step for place, step in enumerate(steps)}}
        return EncodedCoT(rows=(self._row(found.ids, pixels, reads=found.reads, texts=texts),), images=pixels)

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; `special` adds what the tokenizer puts before one, such as its first token."""
        # Whole rows are not worth remembering, as the questions and steps of `PRMProcessor` are.
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def token_id(self, token: str) -> int:
        """The id of a token.

        Raises:
            UserError: the tokenizer has no such token.
        """
        found = self.tokenizer.get_vocab().get(token)
        if found is None:
            raise UserError(f"the tokenizer has no token {token!r}, which this layout needs")
        return int(found)


class PublishedPRM(PRM):
    """A PRM with the head of another project."""

    def __init__(self, backbone: PreTrainedModel, processor: PRMProcessor, *, head: str = "hidden") -> None:
        super().__init__(backbone, processor, head=head)
        self.before: nn.Module = nn.Identity()

    def read(self, states: Tensor) -> Tensor:
        """See `PRM.read`."""
        return super().read(self.before(states.to(self.head.weight.dtype)))


LAYOUTS: Registry[Layout] = Registry(
    "layout",
    {
        "qwen_prm": "dreamprm.scorers.step_token_classifier:StepTokenClassifier",
        "math_shepherd": "dreamprm.scorers.plus_minus_tokens:PlusMinusTokens",
        "visualprm": "dreamprm.scorers.plus_minus_turns:PlusMinusTurns",
        "trl": "dreamprm.scorers.token_classifier:TokenClassifier",
    },
)
"""The forms of other projects' PRMs, by the name that the setting `layout` gives."""


def recognised_layout(folder: Path) -> str | None:
    """The layout that a checkpoint's config.json shows; None: none of them."""
    try:
        config = parse_json((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    return next((name for name in LAYOUTS if LAYOUTS.kind(name).recognises(config)), None)


def open_published(
    folder: Path,
    layout: Layout,
    *,
    dtype: torch.dtype,
    processor: str | Path | None = None,
    max_pixels: int | None = None,
    **changes: Any,
) -> PublishedPRM:
    """A PRM of another project from its folder.

    Args:
        folder: a checkpoint in the form that `transformers` writes.
        layout: its form.
        dtype: of the backbone; the head stays float32.
        processor: where the tokenizer and image processor are read from; None: the folder itself.
        max_pixels: limit on images, of a Qwen-VL; None: the stored one.
        **changes: fields of `ProcessorSettings`.

    Raises:
        UserError: the files do not hold a model of this form.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no checkpoint (config.json is missing); give its folder")
    _refuse_remote_code(folder)
    backbone = make_backbone(
        folder, attn_implementation="sdpa", dtype=dtype, except_heads=("lm_head.", *layout.heads)
    )
    own = PRMProcessor.from_pretrained(processor or folder, max_pixels=max_pixels)
    reader = LayoutProcessor(
        own.tokenizer,
        own.image_processor,
        settings=ProcessorSettings(**changes),
        text_only=own.text_only,
    )
    reader.layout = layout
    head = layout.head(folder, backbone, reader)
    prm = PublishedPRM(backbone, reader)
    with torch.no_grad():
        prm.head.weight.copy_(head.weight[None])
        prm.head.bias.fill_(head.bias)
    if head.before is not None:
        prm.before = head.before.to(prm.head.weight.dtype)
    return prm.eval()


def difference(weight: Tensor, bias: Tensor | None, *, where: str) -> Head:
    """The head of log-odds of a linear layer with two classes (wrong, right), or with one, which is theirs.

    Raises:
        UserError: another number of classes.
    """
    weight = weight.float()
    classes = weight.shape[0]
    if weight.ndim != 2 or classes not in (1, 2):
        raise UserError(
            f"{where} has the shape {tuple(weight.shape)}; a PRM has two classes (wrong, right), or one"
        )
    offset = torch.zeros(classes) if bias is None else bias.float()
    if classes == 1:
        return Head(weight[0], float(offset[0]))
    return Head(weight[1] - weight[0], float(offset[1] - offset[0]))


def token_difference(backbone: PreTrainedModel, right: int, wrong: int) -> Head:
    """The head of log-odds of two tokens of the vocabulary."""
    output: Any = backbone.get_output_embeddings()
    weight = output.weight.detach().float()
    return Head(weight[right] - weight[wrong])


def stored_tensors(folder: Path, names: Sequence[str]) -> dict[str, Tensor | None]:
    """Tensors of a checkpoint's safetensors files by name; None for those that it does not hold.

    Raises:
        UserError: it has no such files, or they cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        else:
            places = dict.fromkeys(names, "model.safetensors")
        found: dict[str, Tensor | None] = dict.fromkeys(names)
        for name in names:
            if name not in places:
                continue
            with safe_open(folder / places[name], framework="pt") as file:
                if name in file.keys():  # noqa: SIM118  (no mapping)
                    found[name] = file.get_tensor(name)
        return found
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"cannot read the head from the safetensors files in {folder}: {error}") from error


def places_of(ids: Sequence[int], token: int, steps: Sequence[str], *, shown: str) -> list[int]:
    """Where the step token stands, once per step.

    Raises:
        UserError: a text of the record contains it.
    """
    places = [place for place, one in enumerate(ids) if one == token]
    if len(places) != len(steps):
        raise UserError(
            f"the row holds the step token {shown!r} {len(places)} times for {len(steps)} steps; a question "
            "or step must not contain it itself"
        )
    return places


def _refuse_remote_code(folder: Path) -> None:
    config = parse_json((folder / "config.json").read_bytes())
    if isinstance(config, dict) and config.get("model_type") == "internvl_chat":
        raise UserError(
            f"{folder} is an InternVL model whose layers are code of its own (model_type internvl_chat), "
            "which is not run here; serve it and score through its server, or use a PRM on a Qwen-VL backbone"
        )
