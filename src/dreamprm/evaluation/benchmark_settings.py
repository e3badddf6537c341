"""`dreamprm benchmark`: published questions and predictions in, checked candidates and figures out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.choices import SPLITS
from dreamprm.config.schema import LARGEST_SEED, REQUIRED, open_settings, section, setting
from dreamprm.generators.settings import JudgeSettings
from dreamprm.runtime.settings import BadRecordSettings


@dataclass
class BenchmarkConfig(BadRecordSettings):
    """A benchmark's questions, and answers to them checked by its own rules, with its own figures."""

    name: str = setting(REQUIRED, "name of the benchmark; they are listed below")
    questions: str = setting(REQUIRED, "its questions: its own file or folder, or VLMEvalKit's .tsv")
    output: str = setting(
        REQUIRED,
        "folder for questions.jsonl, candidates.jsonl, scores.json and scores.md; older ones are replaced. A "
        "judge's replies are kept in its judge.jsonl, so that the same command resumes",
    )
    predictions: list[str] = setting(
        [],
        "files or folders of predictions, as the benchmark or VLMEvalKit writes them; several models or "
        "samples",
    )
    candidates: str | None = setting(
        None, "file of candidate records instead, as `dreamprm sample` writes them; they are checked again"
    )
    images: str = setting(
        "require", "every question needs its images, or images are left out", choices=("require", "ignore")
    )
    image_root: str | None = setting(None, "folder that image paths start from; null: the questions' own")
    allow_outside: bool = setting(
        False, "accept image paths that lead out of that folder (absolute, by .. or by a link)"
    )
    allow_urls: bool = setting(
        False, "download the images that the questions give as URLs; false: such a question is refused"
    )
    split: str | None = setting(None, "which split, if the folder of questions has several")
    limit: int | None = setting(None, "use only this many questions, the first ones; null: all", minimum=1)
    steps: str = setting(
        "auto",
        "how predictions are split into steps; auto: at their 'Step k:' headings where there are several, "
        "else into paragraphs",
        choices=SPLITS,
    )
    response_field: str | None = setting(
        None,
        "the predictions' field with the model's whole response, which a PRM scores; null: response, or else "
        "prediction, and never a shorter extraction from it",
    )
    outcomes: str = setting(
        "check",
        "what is right: decided by the benchmark's rules, or as flagged in the files; with check, it is said "
        "how often the files' own flags agree, and disagreements.jsonl lists where they do not",
        choices=("check", "published"),
    )
    unflagged: str = setting(
        "error",
        "with outcomes=published, a prediction without a flag stops the run, or the benchmark's rules decide "
        "(check), or it is undecided, which counts as wrong",
        choices=("error", "check", "undecided"),
        when={"outcomes": ("published",)},
    )
    use_extracted: bool = setting(
        True,
        "check the answer that the benchmark's own extraction found, if the file holds it (extraction, "
        "model_answer, res, prediction next to a response); false: what the response itself states",
    )
    empty: str = setting(
        "error", "an empty prediction stops the run, or counts as wrong", choices=("error", "wrong")
    )
    incomplete: str = setting(
        "error",
        "questions without all predictions stop the run, or are kept: unanswered ones are wrong",
        choices=("error", "keep"),
    )
    other_questions: str = setting(
        "error",
        "predictions for unknown questions stop the run, or are left out",
        choices=("error", "skip"),
    )
    judge: JudgeSettings = section(JudgeSettings)
    seed: int = setting(0, "seed for the bootstrap", minimum=0, maximum=LARGEST_SEED)
    resamples: int = setting(2000, "bootstrap draws", minimum=1)
    level: float = setting(0.95, "share of the draws inside an interval", above=0, below=1)
    settings: dict[str, Any] = open_settings(
        "the named benchmark's own settings, written next to name:",
        registry="dreamprm.formats.benchmarks:BENCHMARKS",
        build=True,
    )

    def check(self) -> None:
        """Refuse two sources of answers."""
        if self.predictions and self.candidates is not None:
            raise ValueError("give predictions or candidates, not both")
