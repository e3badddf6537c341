"""`dreamprm sandbox`: where the generated world goes, its seed and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dreamprm.config.schema import LARGEST_SEED, setting
from dreamprm.runtime.settings import require_end


@dataclass
class SandboxConfig:
    """The generated world: its folder, its seed and how large it is."""

    moved: ClassVar[Mapping[str, str]] = {
        "sandbox": "the settings of the world are now at the top level, such as folder=... or captions=100"
    }

    folder: str = setting("data/sandbox/seed${seed}", "folder for the generated files")
    seed: int = setting(
        0, "seed for everything that is generated, including the base model", minimum=0, maximum=LARGEST_SEED
    )
    questions_per_domain: int = setting(1500, "questions in each of the 15 training domains", minimum=2)
    cots_per_question: int = setting(2, "chains of thought per training question", minimum=1)
    meta_questions: int = setting(300, "questions in the meta set, with four CoTs each", minimum=2)
    development_questions: int = setting(300, "questions in the development set", minimum=2)
    suite_questions: int = setting(800, "questions in each held-out suite", minimum=2)
    candidates: int = setting(8, "candidates per held-out question (N)", minimum=2)
    captions: int = setting(4000, "image captions in the language-modelling pool", minimum=1)
    base_steps: int = setting(1200, "language-modelling steps of the base model", minimum=1)
    base_batch: int = setting(64, "texts per language-modelling step", minimum=1)
    base_lr: float = setting(2e-3, "peak learning rate of the base model's AdamW", minimum=0.0)
    hidden_size: int = setting(64, "width of the base model's language part and vision part", minimum=32)
    text_layers: int = setting(4, "layers of the base model's language part", minimum=1)
    vision_layers: int = setting(2, "layers of the base model's vision part", minimum=1)
    threads: int | None = setting(None, "CPU threads for torch; null: torch's default", minimum=1)

    def check(self) -> None:
        """Require a batch that ends, and a width that four rotary attention heads can share."""
        require_end("base_batch", self.base_batch)
        if self.hidden_size % 16:
            raise ValueError(f"hidden_size must be a multiple of 16, got {self.hidden_size}")
