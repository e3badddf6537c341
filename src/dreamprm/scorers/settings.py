"""Which model scores, and how it is loaded: the part that the commands which score have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import REQUIRED, setting
from dreamprm.runtime.settings import ground_colour, image_ground_setting


def model_setting() -> Any:
    """The setting `model` of every command that scores."""
    return setting(
        REQUIRED,
        "a trained PRM: a run folder or its model/; or a folder of the public DreamPRM code (base_model/ and "
        "LN_weights.pt); with scores=likelihood, a plain checkpoint's folder",
    )


@dataclass
class ScorerSettings:
    """The scorer: what it is loaded from, what it gives, where and how it computes."""

    model: str = model_setting()
    base: str | None = setting(
        None,
        "for a PRM saved as adapters alone: folder or hub name of its base model, if it is not where it was",
    )
    scores: str = setting(
        "auto",
        "a score for each step, or one for the response, read at its last step (an outcome reward model); "
        "auto: as the model was trained; likelihood: one value for the response, the mean log-likelihood "
        "(nats per token) of its steps under a checkpoint that is not a PRM, stored in place of the log-odds",
        choices=("auto", "step", "response", "likelihood"),
    )
    processor: str | None = setting(
        None,
        "for a model of the public code, which stores none: folder or hub name of a Qwen2-VL whose "
        "tokenizer and image processor it uses; with scores=likelihood, null: the checkpoint's own",
    )
    max_pixels: int | None = setting(
        None,
        "for a model of the public code, or scores=likelihood: images are scaled down to at most this many "
        "pixels; null: 262144 (512 x 512); our own models store theirs",
        minimum=1,
    )
    image_ground: str | None = image_ground_setting(
        None,
        "; for a model of the public code, or scores=likelihood; null: the processor's own, or white; our "
        "own models store theirs",
    )
    batch_size: int = setting(32, "largest number of candidates per pass", minimum=1)
    batch_tokens: int = setting(
        16384, "largest number of tokens per pass, padding included; lower it if memory runs out", minimum=1
    )
    precision: str = setting(
        "fp32", "precision of weights and computation; the head stays fp32", choices=("fp32", "bf16")
    )
    device: str = setting("auto", "auto: a GPU if there is one", choices=("auto", "cpu", "cuda"))

    def check(self) -> None:
        """Require a colour."""
        if self.image_ground is not None:
            ground_colour(self.image_ground)
