"""`dreamprm export`: which PRM is written where, and in which form."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import REQUIRED, setting


@dataclass
class ExportConfig:
    """A PRM as a checkpoint that other software loads."""

    model: str = setting(
        REQUIRED,
        "a trained PRM: a run folder or its model/; or a folder of the public DreamPRM code (base_model/ and "
        "LN_weights.pt)",
    )
    to: str = setting(REQUIRED, "folder to write: new or empty, or holding an earlier export")
    form: str = setting(
        "hf",
        "hf: a token classifier of transformers for a language model, for a Qwen-VL the generating model "
        "with the head next to it as score.weight and score.bias, where vLLM looks; step_token: the "
        "generating model with two more tokens, the difference of whose log-probs is the log-odds",
        choices=("hf", "step_token"),
    )
    base: str | None = setting(
        None,
        "for a PRM saved as adapters alone: folder or hub name of its base model, if it is not where it was",
    )
    processor: str | None = setting(
        None,
        "for a model of the public code, which stores none: folder or hub name of a Qwen2-VL whose tokenizer "
        "and image processor it uses",
    )
    max_pixels: int | None = setting(
        None, "for a model of the public code: as in score; null: 262144 (512 x 512)", minimum=1
    )
