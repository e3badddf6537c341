"""The PRM that is trained."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.choices import HEADS, READOUTS
from dreamprm.config.schema import setting


@dataclass
class ModelSettings:
    """The PRM: backbone and step head."""

    path: str | None = setting(
        None, "checkpoint of the backbone, a folder or hub name; null: random from config"
    )
    config: str | None = setting(None, "JSON file of a transformers config, for random initialisation")
    tokenizer: str | None = setting(None, "folder of the tokenizer; null: the checkpoint's")
    head: str = setting(
        "hidden",
        "step head on hidden states, or on the vocabulary's logits",
        choices=HEADS,
    )
    readout: str = setting(
        "step_end",
        "read each step at its own end (one pass per CoT), or after the chat template (public checkpoints)",
        choices=READOUTS,
    )
    attn_implementation: str = setting(
        "auto",
        "attention; auto: eager for an estimator that takes gradients of gradients (fused attention has "
        "none), sdpa for the others",
        choices=("auto", "sdpa", "eager", "flash_attention_2"),
    )
    freeze_vision: bool = setting(False, "leave the vision tower as it is")

    def check(self) -> None:
        """Exactly one source of the backbone."""
        if self.path is not None and self.config is not None:
            raise ValueError(f"give path or config, not both (path={self.path}, config={self.config})")
