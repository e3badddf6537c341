"""`dreamprm sample` and `dreamprm label`: from questions to chains of thought and step labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.answers.settings import AnswerSettings
from dreamprm.config.choices import PROMPTS, SPLITS
from dreamprm.config.schema import LARGEST_SEED, REQUIRED, open_settings, section, setting
from dreamprm.generators.settings import GeneratorSettings
from dreamprm.runtime.settings import (
    ProgressSettings,
    QuestionFileSettings,
    RecordFile,
    require_end,
    shard_of,
)


@dataclass
class QuestionSettings(QuestionFileSettings):
    """The questions, and how their files are read."""

    files: list[RecordFile] = setting(
        [],
        "files of question records: plain paths, or sections with the keys below; may be empty if "
        "label.candidates holds questions and answers",
    )


@dataclass
class SampleSettings:
    """`dreamprm sample`: chains of thought."""

    n: int = setting(8, "CoTs per question (N)", minimum=1)
    form: str = setting(
        "candidates",
        "candidate records (a question with its N CoTs) or meta records (a CoT labelled right or wrong)",
        choices=("candidates", "meta"),
    )
    shard: str = setting("0/1", "i/n: this process takes every n-th question, starting at the i-th (from 0)")

    def check(self) -> None:
        """Validate the shard and the number of CoTs."""
        shard_of(self.shard)
        require_end("n", self.n)


@dataclass
class LabelSettings:
    """`dreamprm label`: Monte-Carlo labels of the steps of chains of thought."""

    candidates: str | None = setting(
        None,
        "file of candidate records whose CoTs are labelled (sampled earlier, or by another generator); null: "
        "sample them first",
    )
    cots: int = setting(4, "CoTs sampled per question", minimum=1, when={"candidates": (None,)})
    method: str = setting("full", "which prefixes get rollouts, and how many")
    shard: str = setting("0/1", "i/n: this process takes every n-th question, starting at the i-th (from 0)")
    settings: dict[str, Any] = open_settings(
        "the named method's own settings, written next to method:",
        registry="dreamprm.labelling.rollouts:METHODS",
        named_by="method",
        build=True,
    )

    def check(self) -> None:
        """Validate the shard, and what is made at once."""
        shard_of(self.shard)
        require_end("cots", self.cots)
        for key in ("rollouts", "initial", "maximum"):
            if isinstance(value := self.settings.get(key), int):
                require_end(key, value)


@dataclass
class LabelConfig:
    """Questions in; chains of thought (`dreamprm sample`) or step labels (`dreamprm label`) out."""

    output: str = setting(
        REQUIRED, "folder for the results; a run that was stopped resumes from those already there"
    )
    seed: int = setting(0, "seed for the sampling", minimum=0, maximum=LARGEST_SEED)
    prompt: str = setting(
        "five_stage", "ask for the paper's five steps, or for no structure (ablation)", choices=PROMPTS
    )
    split: str = setting(
        "headings",
        "what a step is: text under a 'Step k:' heading, a paragraph, a sentence, or the whole response; "
        "auto: headings where there are several, else paragraphs",
        choices=SPLITS,
    )
    max_failed_fraction: float = setting(
        0.05, "largest share of questions that may fail before the run stops", minimum=0, maximum=1
    )
    max_undecided_fraction: float = setting(
        0.5,
        "largest share of replies that may be empty or undecided; above it the run stops, since a PRM "
        "trained on such labels learns that every step is wrong",
        minimum=0,
        maximum=1,
    )
    undecided_after: int = setting(20, "number of replies from which on that share is judged", minimum=1)
    older_rollouts: str = setting(
        "refuse",
        "what to do with rollouts of version 0.2.0 and older in the output folder, which do not say what "
        "images and model files held. refuse: stop; reuse: none was replaced since, so their texts are kept "
        "and their answers judged again",
        choices=("refuse", "reuse"),
    )
    questions: QuestionSettings = section(QuestionSettings)
    generator: GeneratorSettings = section(GeneratorSettings)
    answers: AnswerSettings = section(AnswerSettings)
    sample: SampleSettings = section(SampleSettings)
    label: LabelSettings = section(LabelSettings)
    log: ProgressSettings = section(ProgressSettings)

    def check(self) -> None:
        """Require a source of questions."""
        if not self.questions.files and self.label.candidates is None:
            raise ValueError("questions.files must name at least one file of question records, got []")
