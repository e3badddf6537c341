"""`dreamprm score`: which model scores which files."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import REQUIRED, section, setting
from dreamprm.runtime.settings import ProgressSettings, ReadingSettings


@dataclass
class ScoreDataSettings(ReadingSettings):
    """How the files are read."""

    missing_image: str = setting(
        "error",
        "an image that is missing or broken: stop, or score the text alone (where the file is missing the "
        "record is written without images)",
        choices=("error", "text_only"),
    )
    stepless: str = setting(
        "error",
        "a candidate without steps: stop; skip: it gets no score (a step record is left out); whole: its "
        "whole text is its one step",
        choices=("error", "skip", "whole"),
    )


@dataclass
class ScoreConfig:
    """Candidates or step records in; the same with the log-odds of their steps by this model out."""

    model: str = setting(
        REQUIRED,
        "a trained PRM: a run folder or its model/; or a folder of the public DreamPRM code (base_model/ and "
        "LN_weights.pt); with scores=likelihood a plain checkpoint's folder",
    )
    name: str | None = setting(
        None, "name under which the scores stand; null: the name of the run folder (or of the model's)"
    )
    files: dict[str, str] = setting(REQUIRED, "files to score by name; NAME becomes OUTPUT/NAME.jsonl")
    kind: str = setting(
        "candidate",
        "what the files hold: candidate records (scores beside each candidate) or step records (beside the "
        "labels)",
        choices=("candidate", "step"),
    )
    output: str = setting(
        REQUIRED, "folder of the results; a run that was stopped goes on where it holds some already"
    )
    scores: str = setting(
        "auto",
        "a score for each step, or one for the response, read at its last step (an outcome reward model); "
        "auto: as the model was trained; likelihood: one value for the response, the mean log-likelihood "
        "(nats per token) of its steps under a checkpoint that is not a PRM; it stands where log-odds do",
        choices=("auto", "step", "response", "likelihood"),
    )
    replace: bool = setting(False, "replace scores of this name that a file holds already; else refuse them")
    processor: str | None = setting(
        None,
        "with a model of the public code, which stores none: folder or hub name of a Qwen2-VL whose "
        "tokenizer and image processor it uses; with scores=likelihood null is the checkpoint's own",
    )
    max_pixels: int | None = setting(
        None,
        "with a model of the public code, or scores=likelihood: images are reduced to at most this many "
        "pixels; null: 262144 (512 x 512); our own models store theirs",
        minimum=1,
    )
    batch_size: int = setting(32, "most candidates in one pass", minimum=1)
    batch_tokens: int = setting(
        16384, "most tokens in one pass, padding included; lower it where memory is short", minimum=1
    )
    precision: str = setting(
        "fp32", "of weights and computation; the head stays fp32", choices=("fp32", "bf16")
    )
    device: str = setting("auto", "auto: a GPU where there is one", choices=("auto", "cpu", "cuda"))
    threads: int | None = setting(None, "CPU threads of torch; null: torch's choice", minimum=1)
    data: ScoreDataSettings = section(ScoreDataSettings)
    log: ProgressSettings = section(ProgressSettings)

    def check(self) -> None:
        """At least one file, under names that are file names."""
        if not self.files:
            raise ValueError("files must name at least one file, such as files.mathvista=candidates.jsonl")
        for name in self.files:
            if not name or name.startswith(".") or set(name) & set("/\\"):
                raise ValueError(
                    f"files: {name!r} becomes a file's name; it may not be empty, start with a "
                    "dot or hold a slash"
                )
