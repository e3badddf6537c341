"""Checkpoints of the public DreamPRM code (github.com/coder-qicao/DreamPRM)."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from dreamprm.config.errors import UserError
from dreamprm.models.prm import PRM
from dreamprm.models.processing import PRMProcessor

BACKBONE_FOLDER = "base_model"
HEAD_FILE = "LN_weights.pt"


def load_public_checkpoint(
    folder: str | Path,
    *,
    processor: PRMProcessor | str | Path,
    attn_implementation: str = "sdpa",
    dtype: torch.dtype = torch.float32,
) -> PRM:
    """A PRM from the files the public training code writes: `base_model/` and `LN_weights.pt`.

    Its head reads vocabulary logits at the end of the chat template, with one row per step: `vocab_logits`
    and `chat_suffix`. The public code limits images to 512 pixels on the long side; give a processor with
    `max_pixels` to match.

    Args:
        folder: contains `base_model` (a Qwen2-VL checkpoint) and `LN_weights.pt`.
        processor: a processor with `readout="chat_suffix"`, or the checkpoint to read it from (the public
            code saves none; it uses Qwen2-VL-2B-Instruct's).
        attn_implementation, dtype: as for `PRM.from_backbone`.

    Raises:
        UserError: files that are missing or differ from the public code's, or a processor with another
            readout.
    """
    folder = Path(folder)
    if not isinstance(processor, PRMProcessor):
        processor = PRMProcessor.from_pretrained(processor, readout="chat_suffix")
    if processor.readout != "chat_suffix":
        raise UserError(
            f"public checkpoints are read with chat_suffix, but the processor has {processor.readout!r}"
        )
    head = read_public_head(folder / HEAD_FILE)
    prm = PRM.from_backbone(
        str(folder / BACKBONE_FOLDER),
        processor=processor,
        head="vocab_logits",
        attn_implementation=attn_implementation,
        dtype=dtype,
    )
    for name, expected in prm.head.named_parameters():
        if head[name].shape != expected.shape:
            raise UserError(
                f"{folder / HEAD_FILE} has a {name} of shape {tuple(head[name].shape)}, "
                f"this backbone's vocabulary needs {tuple(expected.shape)}"
            )
    prm.head.load_state_dict(head)
    return prm.eval()


def read_public_head(path: str | Path) -> dict[str, Tensor]:
    """`weight (1, vocab)` and `bias (1,)` of `Linear(vocab, 1)`, named `LN` in the public code.

    Raises:
        UserError: no such file, or it contains other tensors.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not isinstance(tensors, Mapping) or not all(isinstance(one, Tensor) for one in tensors.values()):
        raise UserError(f"{path} holds no tensors by name; a head has weight and bias (or LN.*)")
    head = {str(name).removeprefix("LN."): value for name, value in tensors.items()}
    if set(head) != {"weight", "bias"}:
        raise UserError(
            f"{path} holds {', '.join(sorted(map(str, tensors)))}; a head has weight and bias (or LN.*)"
        )
    return head
